# SPDX-License-Identifier: Apache-2.0
r"""Measure the phases of a training step, and compare its parts.

    python tools/benchmark/benchmark_step.py s4m_shapes_5p
    python tools/benchmark/benchmark_step.py --compare pr sd arp ema gd \
        --segmenter sam2.1_hiera_tiny --size 512x1024 \
        --gd-config configs/guided_distillation/\
guided_distillation_cityscapes_10p.py

The first form trains a config for some iterations and prints, per phase, the
median milliseconds, the share of the step, and the peak memory. ``--compare``
times a part, its naive version and the calls that it cannot avoid, which take
turns in one process: machines are noisy, so only ratios are comparable. The
peak memory of a comparison is the memory that a call adds.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from s4m.apis.cli import add_cfg_options, make_parser, one_line_errors
from s4m.apis.config import get_config
from s4m.utils.whole_files import write_json
from whole_step import benchmark, print_phases

#: Module in this folder by the name of its comparison.
COMPARISONS = dict(
    pr='refinement',
    sd='structural_distillation',
    arp='copy_paste',
    ema='mean_teacher',
    gd='guided_distillation_step',
    pxl='pixel_contrast',
    matching='matching',
    remedies='remedies',
    ap='cityscapes_ap',
)


def parse_size(text: str) -> tuple[int, int]:
    """Read (height, width) from a text such as 512x1024."""
    height, width = map(int, text.split('x'))
    return height, width


def print_comparison(name: str, rows: dict[str, dict[str, float]]) -> None:
    """Print the table of a comparison; ratios are to its first row."""
    first = next(iter(rows.values()))['ms']
    print(f'\n| {name} | median ms | ratio | added MiB |\n|---|---|---|---|')
    for label, row in rows.items():
        ms = row['ms']
        print(f'| {label} | {ms} | {ms / first:.2f} | {row["peak_mib"]} |')


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', nargs='?')
    parser.add_argument('--iters', type=int, default=20)
    parser.add_argument('--compare', nargs='+', choices=list(COMPARISONS))
    parser.add_argument('--segmenter', default='nano_sam2')
    parser.add_argument('--size', type=parse_size, default='128x256')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument(
        '--num-points', type=int, default=128, help='of the comparison sd'
    )
    parser.add_argument(
        '--gd-config',
        default='guided_distillation_shapes_5p',
        help='of the comparisons gd, matching and remedies',
    )
    add_cfg_options(parser)
    parser.add_argument('--out', type=Path, help='write JSON here')
    args = parser.parse_args()
    init_default_scope('mmdet')
    result: dict = {}
    if args.config:
        cfg = get_config(args.config, args.cfg_options)
        result['step'] = benchmark(cfg, args.iters)
        print_phases(result['step'])
    if args.compare:
        segmenter = MODELS.build(
            dict(
                type='SAM2Segmenter',
                config=args.segmenter,
                checkpoint=None,
                # The other side of a comparison calls sam2's parts in fp32.
                dtype='float32',
            )
        )
    for name in args.compare or ():
        result[name] = import_module(COMPARISONS[name]).compare(
            segmenter=segmenter,
            size=args.size,
            repeats=args.repeats,
            device='cuda' if torch.cuda.is_available() else 'cpu',
            num_points=args.num_points,
            gd_config=args.gd_config,
        )
        print_comparison(name, result[name])
    if args.out:
        write_json(args.out, result, indent=2)


if __name__ == '__main__':
    main()
