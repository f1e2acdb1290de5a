#!/usr/bin/env bash
# tools/test.sh CONFIG CHECKPOINT [GPUS] [arguments of tools/test.py]
# Mask AP of a checkpoint, on one process or on several GPUs.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG CHECKPOINT [GPUS] [arguments of tools/test.py]" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
config=$1
checkpoint=$2
shift 2
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    gpus=$1
    shift
    if [ "$gpus" -gt 1 ]; then
        exec "$here/dist_test.sh" "$config" "$checkpoint" "$gpus" "$@"
    fi
fi
PYTHONPATH="$here/../projects${PYTHONPATH:+:$PYTHONPATH}" exec python "$here/test.py" "$config" "$checkpoint" "$@"
