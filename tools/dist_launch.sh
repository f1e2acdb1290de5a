#!/usr/bin/env bash
# tools/dist_launch.sh PORT GPUS TOOL.py [arguments]: what the other dist_*.sh
# call. Several nodes: NNODES, NODE_RANK, MASTER_ADDR and PORT in the
# environment.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
port=$1
gpus=$2
tool=$3
shift 3
PYTHONPATH="$here/../projects${PYTHONPATH:+:$PYTHONPATH}" exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-$port}" \
    --nproc_per_node="$gpus" \
    "$here/$tool" "$@" --launcher pytorch
