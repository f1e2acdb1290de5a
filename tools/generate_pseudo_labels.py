# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels of a set of images (COCO file or folder) as a COCO file.

    python tools/generate_pseudo_labels.py CONFIG CHECKPOINT|none \
        --images unlabeled.json --image-root data/cityscapes/leftImg8bit/train \
        --score-thr 0.3 --non-overlapping --out pseudo_labels.json

Started again after it was stopped, it goes on where it was. On several GPUs:
tools/dist_generate_pseudo_labels.sh CONFIG CHECKPOINT GPUS --images ...
"""

from mmengine.config import DictAction
from s4m.apis import cli
from s4m.apis.pseudo_labels import PseudoLabelGenerator


@cli.one_line_errors
def main() -> None:
    """Command line."""
    parser = cli.make_parser(__doc__)
    add = parser.add_argument
    add('config')
    add('checkpoint', type=lambda c: None if c == 'none' else c)
    add('--images', required=True)
    add('--image-root', help='folder of the names in a COCO file')
    add('--out', required=True)
    add('--model', choices=['teacher', 'student'], default='student')
    add('--score-thr', type=float, default=0.3)
    add('--class-thr', nargs='+', action=DictAction, metavar='CLASS=THR')
    add('--max-per-image', type=int, default=100)
    add('--min-area', type=int, default=0, help='in pixels, exclusive')
    add('--non-overlapping', action='store_true', help='best score wins')
    add('--refine', nargs='*', metavar='SAM2', help='its config, checkpoint')
    add('--scales', type=float, nargs='+', default=[1.0], help='of views')
    add('--flip', action='store_true', help='mirrored views too')
    add('--batch-size', type=int, default=1)
    add('--workers', type=int, default=2)
    cli.add_cfg_options(parser)
    cli.add_launcher(parser)
    args = vars(parser.parse_args())
    out = args.pop('out')
    PseudoLabelGenerator(**args).generate(out)


if __name__ == '__main__':
    main()
