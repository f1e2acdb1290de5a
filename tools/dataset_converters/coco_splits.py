# SPDX-License-Identifier: Apache-2.0
r"""Split a data set in COCO's format into labelled and unlabelled parts.

    # fold (seed) 1 of train2017, draws of Unbiased Teacher, another data set
    python tools/dataset_converters/coco_splits.py data/coco --percent 1 10
    python tools/dataset_converters/coco_splits.py data/coco \
        --percent 10 --fold 1 2 3 4 5 --list COCO_supervision.txt
    python tools/dataset_converters/coco_splits.py data/mine \
        --ann annotations/train.json --percent 20 --classes cat "big dog"

writes ``semi_anns/instances_train2017.{fold}@{percent}[-unlabeled].json`` and
``...all-unlabeled.json``. ``--extra image_info_unlabeled2017.json`` adds the
categories of the labelled images to that file, which MMDet needs. The numbers
of ``--list`` are indices of annotated images or of all images, or image ids.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.datasets.converters.coco_splits import LIST_KINDS, TRAIN, make_splits


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('root', help='data root')
    add('--percent', type=float, nargs='+', required=True)
    add('--fold', type=int, nargs='+', default=[1], help='seeds, or folds')
    add('--ann', default=TRAIN, help='COCO file below the root')
    add('--out', default='semi_anns', help='folder below the root')
    add('--list', dest='index_list', help='JSON {percent: {fold: [number]}}')
    add('--list-kind', choices=LIST_KINDS, default='annotated')
    add('--classes', nargs='+', help='keep these categories')
    add('--extra', help='a COCO file of unlabelled images, below the root')
    make_splits(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
