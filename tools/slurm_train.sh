#!/usr/bin/env bash
# Train with slurm: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]
# The environment may set GPUS (8), GPUS_PER_NODE (8, or GPUS if less),
# CPUS_PER_TASK (5) and SRUN_ARGS (nothing).
exec "$(dirname "$0")/launchers/slurm.sh" train.py "$@"
