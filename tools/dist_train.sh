#!/usr/bin/env bash
# Train on several GPUs: tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# Without any GPU in the machine, GPUS is the number of CPU processes.
exec "$(dirname "$0")/dist_run.sh" train.py 1 "$@"
