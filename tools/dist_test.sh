#!/usr/bin/env bash
# Test on several GPUs: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments]
# Without any GPU in the machine, GPUS is the number of CPU processes.
exec "$(dirname "$0")/launchers/dist.sh" test.py 2 "$@"
