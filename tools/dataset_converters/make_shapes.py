# SPDX-License-Identifier: Apache-2.0
r"""Generate Shapes, an instance segmentation data set in Cityscapes' layout.

    python tools/dataset_converters/make_shapes.py --out data/shapes \
        --train 400 --val 200 --size 128x256 --seed 0

The tools for Cityscapes work on Shapes unchanged. The result does not depend
on the number of workers.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.datasets.shapes import make_shapes, parse_size


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--out', default='data/shapes')
    parser.add_argument('--train', type=int, default=400)
    parser.add_argument('--val', type=int, default=200)
    parser.add_argument('--size', default='128x256', help='HEIGHTxWIDTH')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int)
    args = vars(parser.parse_args())
    make_shapes(**args | dict(size=parse_size(args['size'])))


if __name__ == '__main__':
    main()
