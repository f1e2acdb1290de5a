#!/usr/bin/env bash
# tools/dist_generate_pseudo_labels.sh CONFIG CHECKPOINT GPUS --images ... --out ...
# Several nodes: NNODES, NODE_RANK, MASTER_ADDR and PORT in the environment.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of tools/generate_pseudo_labels.py]" >&2
    exit 2
fi
exec bash "$(dirname "$0")/dist_launch.sh" 29502 "$3" generate_pseudo_labels.py "$1" "$2" "${@:4}"
