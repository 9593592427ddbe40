#!/usr/bin/env bash
# The launcher of slurm_train.sh and slurm_test.sh: launchers/slurm.sh SCRIPT ARGUMENT...
set -euo pipefail
tools=$(cd "$(dirname "$0")/.." && pwd)
script=$1
shift
name=slurm_${script%.py}.sh
. "$tools/launchers/checks.sh"

(($# >= 4)) && [[ $4 != -* ]] || usage
partition=$1 job=$2 config=$3 fourth=$4
shift 4
if [ "$script" = train.py ]; then
    need_files "$config"
    set -- "$config" --work-dir "$fourth" "$@"
else
    need_files "$config" "$fourth"
    set -- "$config" "$fourth" "$@"
fi

gpus=${GPUS:-8} cpus=${CPUS_PER_TASK:-5}
need_number GPUS "$gpus"
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
need_number GPUS_PER_NODE "$per_node"
need_number CPUS_PER_TASK "$cpus"
if ((gpus > per_node && gpus % per_node)); then
    fail "GPUS is $gpus, no multiple of GPUS_PER_NODE, which is $per_node:" \
        "every node has to get the same number"
fi
command -v srun >/dev/null ||
    fail "srun is not installed: run this on a slurm cluster, or use" \
        "tools/dist_${script%.py}.sh"

# SRUN_ARGS holds several words.
# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job" \
    --gres=gpu:"$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="$cpus" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$tools/$script" "$@" --launcher slurm
