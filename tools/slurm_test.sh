#!/usr/bin/env bash
# Test with slurm: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]
# The script reads the same environment as slurm_train.sh.
exec "$(dirname "$0")/launchers/slurm.sh" test.py "$@"
