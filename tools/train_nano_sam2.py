# SPDX-License-Identifier: Apache-2.0
r"""Train the nano SAM 2 of the demo on endless class-agnostic random shapes.

    python tools/train_nano_sam2.py --work-dir work_dirs/nano_sam2
    python tools/train_nano_sam2.py --eval projects/s4m/assets/nano_sam2.pt \
        --shapes data/shapes
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.apis.nano_sam2 import evaluate, pretrain


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--work-dir', default='work_dirs/nano_sam2')
    parser.add_argument('--steps', type=int, default=9000)
    parser.add_argument('--images', type=int, default=4, help='per step')
    parser.add_argument('--masks', type=int, default=8, help='per image')
    parser.add_argument('--lr', type=float, default=1e-3)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    parser.add_argument('--eval', help='evaluate this checkpoint')
    parser.add_argument('--shapes', help='a Shapes data set')
    args = vars(parser.parse_args())
    checkpoint = args.pop('eval')
    if checkpoint:
        evaluate(checkpoint, shapes=args['shapes'])
    else:
        pretrain(**args)


if __name__ == '__main__':
    main()
