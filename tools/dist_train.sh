#!/usr/bin/env bash
# Train on several GPUs: tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# Without any GPU in the machine, GPUS is the number of CPU processes.
# On several nodes, run this on each node: NNODES=2 NODE_RANK=0 MASTER_ADDR=node0 PORT=29500
exec "$(dirname "$0")/launchers/dist.sh" train.py 1 "$@"
