# SPDX-License-Identifier: Apache-2.0
"""Check everything on a real GPU in one command, without any download.

    python tools/benchmark/gpu_check.py --out work_dirs/gpu_check

Parts run one after the other, the most valuable first: the card and its
ceilings, mmcv's operators, a step of each method against the host's, S4M's
student at the published size in several modes and as the released code trains
it, kernel launches and waits, other networks, a resumed training, the loader,
and the tests that want a device. A part that fails or exceeds its time does
not stop the others. OUT gets gpu_check.json and gpu_check.md after each part.
"""

from __future__ import annotations

import os

# Before torch: asking for a GPU must not begin to use it, else forked
# processes could not.
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')

from pathlib import Path

from s4m.apis.cli import make_parser, one_line_errors
from s4m.apis.gpu_check import PARTS, run_check


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--out', type=Path, default='work_dirs/gpu_check')
    parser.add_argument(
        '--parts', nargs='+', choices=[part.name for part in PARTS]
    )
    parser.add_argument(
        '--nano', action='store_true', help='small networks, to try it'
    )
    parser.add_argument(
        '--seconds', type=float, default=480, help='limit of all parts'
    )
    args = parser.parse_args()
    run_check(args.out, args.parts, args.nano, args.seconds)


if __name__ == '__main__':
    main()
