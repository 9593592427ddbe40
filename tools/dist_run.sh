#!/usr/bin/env bash
# Shared by dist_train.sh and dist_test.sh: dist_run.sh SCRIPT FILES ARGUMENT...
# with FILES file names first among the arguments, then the number of GPUs.
set -euo pipefail
tools=$(dirname "$0")
script=$1 num_files=$2
shift 2
python=${PYTHON:-python}

fail() {
    echo "dist_${script%.py}.sh: error: $*" >&2
    exit 1
}

if (($# <= num_files)); then
    sed -n '2s/^# //p' "$tools/dist_${script%.py}.sh" >&2
    exit 2
fi
files=("${@:1:num_files}")
gpus=${*:num_files+1:1}
shift $((num_files + 1))

for file in "${files[@]}"; do
    [ -f "$file" ] || fail "'$file' does not exist or is not a file"
done
[[ $gpus =~ ^[1-9][0-9]*$ ]] ||
    fail "the number of GPUs is '$gpus': give 1 or more"
present=$("$python" -c 'import torch; print(torch.cuda.device_count())') ||
    fail "'$python' cannot import torch: activate the environment first," \
        "source .venv/bin/activate"
if ((present > 0 && gpus > present)); then
    fail "$gpus GPUs asked for and this machine shows $present: give at" \
        "most $present"
fi

exec "$python" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$tools/$script" "${files[@]}" --launcher pytorch "$@"
