#!/usr/bin/env bash
# Test with slurm: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]
# The environment is that of slurm_train.sh.
exec "$(dirname "$0")/launchers/slurm.sh" test.py "$@"
