# SPDX-License-Identifier: Apache-2.0
"""Convert ADE20K's instance PNGs to COCO JSON.

    python tools/dataset_converters/ade20k.py data/ADEChallengeData2016

Below the data root are the images of the scene parsing challenge and the
instance annotations of Places Challenge 2017
(sceneparsing.csail.mit.edu, placeschallenge.csail.mit.edu):

    images/{training,validation}/*.jpg
    annotations_instance/{training,validation}/*.png

The red channel of a PNG is the class, 1 to 100, the green channel the
instance. The tool writes ``ade20k_instance_{train,val}.json`` with
MMDetection's 100 names and RLE masks. To split the training set, run
``coco_splits.py data/ADEChallengeData2016 --ann ade20k_instance_train.json
--percent 10``.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.datasets.converters.ade20k import SPLITS, convert


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('root', help='data root')
    parser.add_argument('--splits', nargs='+', default=list(SPLITS))
    parser.add_argument('--workers', type=int)
    convert(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
