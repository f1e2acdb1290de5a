# SPDX-License-Identifier: Apache-2.0
"""Convert Cityscapes' (or Shapes') instance PNGs to COCO JSON.

    python tools/dataset_converters/cityscapes.py data/cityscapes

writes ``annotations/instancesonly_filtered_gtFine_{train,val}.json`` below
the data root. The files have the eight instance classes that are evaluated,
RLE masks, and groups as ``iscrowd``.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.datasets.converters.cityscapes import convert


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('root', help='data root')
    parser.add_argument('--splits', nargs='+', default=['train', 'val'])
    parser.add_argument('--workers', type=int)
    convert(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
