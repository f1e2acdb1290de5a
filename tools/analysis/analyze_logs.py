# SPDX-License-Identifier: Apache-2.0
r"""Run MMDetection's analyze_logs.py, wherever it is installed.

    python tools/analysis/analyze_logs.py plot_curve \
        work_dirs/s4m_shapes_5p/*/vis_data/scalars.json \
        --keys sup_loss_mask unsup_loss_mask --out curves.png
    python tools/analysis/analyze_logs.py cal_train_time LOG.json
"""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import mmdet

if __name__ == '__main__':
    tools = Path(mmdet.__file__).parent / '.mim/tools'
    if not tools.is_dir():  # MMDetection is a clone, not a wheel
        tools = Path(mmdet.__file__).parents[1] / 'tools'
    # The script's default style belongs to seaborn.
    if 'plot_curve' in sys.argv and '--style' not in sys.argv:
        if find_spec('seaborn') is None:
            sys.argv += ['--style', 'default']
    runpy.run_path(
        str(tools / 'analysis_tools/analyze_logs.py'), run_name='__main__'
    )
