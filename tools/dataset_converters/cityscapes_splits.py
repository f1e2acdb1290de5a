# SPDX-License-Identifier: Apache-2.0
r"""Split Cityscapes' (or Shapes') training set into two parts.

    # a published list has one *_gtFine_instanceIds.png base name per line
    python tools/dataset_converters/cityscapes_splits.py data/cityscapes \
        --percent 10 --list perc_10.txt
    # a draw with a seed
    python tools/dataset_converters/cityscapes_splits.py data/shapes \
        --percent 5 --seed 0

writes ``annotations/semi/{published,seed0}@10.json`` with the labelled images
and ``...@10-unlabeled.json`` with all training images (or, with
``--unlabeled rest``, the others), without annotations.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.datasets.converters.cityscapes_splits import make_split


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('root', help='data root')
    parser.add_argument('--percent', type=float, required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--list', dest='published', help='a published list')
    source.add_argument('--seed', type=int, help='draw with this seed')
    parser.add_argument('--unlabeled', choices=['all', 'rest'], default='all')
    make_split(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
