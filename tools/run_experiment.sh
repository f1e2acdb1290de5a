#!/usr/bin/env bash
# tools/run_experiment.sh METHOD DATASET PERCENT GPUS [options]
# One row of the matrix (configs/README.md): its teacher, itself, and the mask AP
# of both. What is done is skipped, what was stopped is resumed.
#   tools/run_experiment.sh s4m cityscapes 10 4
#   tools/run_experiment.sh guided_distillation coco 5 4 --backbone swin_l
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$here/../projects${PYTHONPATH:+:$PYTHONPATH}" exec python "$here/run_experiment.py" "$@"
