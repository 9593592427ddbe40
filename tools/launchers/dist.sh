#!/usr/bin/env bash
# The launcher of dist_train.sh and dist_test.sh: launchers/dist.sh SCRIPT FILES ARGUMENT...
# The arguments start with FILES file names; the number of GPUs follows.
set -euo pipefail
tools=$(cd "$(dirname "$0")/.." && pwd)
script=$1 num_files=$2
shift 2
name=dist_${script%.py}.sh
python=${PYTHON:-python}
nnodes=${NNODES:-1} node_rank=${NODE_RANK:-0}
. "$tools/launchers/checks.sh"

(($# > num_files)) || usage
files=("${@:1:num_files}")
gpus=${*:num_files+1:1}
shift $((num_files + 1))

need_files "${files[@]}"
need_number 'the number of GPUs' "$gpus"
need_number NNODES "$nnodes"
need_number PORT "${PORT:-29500}"
if [[ ! $node_rank =~ ^(0|[1-9][0-9]*)$ ]] || ((node_rank >= nnodes)); then
    fail "NODE_RANK is '$node_rank': with NNODES=$nnodes the nodes are" \
        "0 to $((nnodes - 1))"
fi
if ((nnodes > 1)) && [ -z "${MASTER_ADDR:-}" ]; then
    fail "NNODES is $nnodes and MASTER_ADDR is not set: set it, on every" \
        "node, to the address of the node with NODE_RANK=0"
fi
present=$("$python" -c 'import torch; print(torch.cuda.device_count())') ||
    fail "'$python' cannot import torch: activate the environment first," \
        "source .venv/bin/activate"
if ((present > 0 && gpus > present)); then
    fail "$gpus GPUs asked for and this machine shows $present: give at" \
        "most $present"
fi

exec "$python" -m torch.distributed.run \
    --nnodes="$nnodes" \
    --node_rank="$node_rank" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$tools/$script" "${files[@]}" --launcher pytorch "$@"
