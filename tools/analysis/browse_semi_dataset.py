# SPDX-License-Identifier: Apache-2.0
r"""Draw the images and labels of semi-supervised training batches.

    python tools/analysis/browse_semi_dataset.py \
        configs/s4m_cityscapes_10p.py --out work_dirs/browse --batches 4
    python tools/analysis/browse_semi_dataset.py \
        configs/s4m_cityscapes_10p.py --out work_dirs/browse \
        --teacher work_dirs/s4m_teacher_cityscapes_10p

Each row shows a labelled image with its annotations, or the views of an
unlabelled image. ``--teacher`` adds the pseudo-labels after each step.
"""

from s4m.apis.cli import add_cfg_options, make_parser, one_line_errors
from s4m.apis.config import get_config
from s4m.visualization.browse import browse


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config')
    parser.add_argument('--out', required=True)
    parser.add_argument('--batches', type=int, default=2)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--teacher', help='checkpoint or work directory: show pseudo-labels'
    )
    add_cfg_options(parser)
    args = vars(parser.parse_args())
    cfg = get_config(args.pop('config'), args.pop('cfg_options'))
    browse(cfg, args.pop('out'), **args)


if __name__ == '__main__':
    main()
