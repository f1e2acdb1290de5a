# SPDX-License-Identifier: Apache-2.0
r"""Describe a folder of images as an unlabelled set in COCO's format.

    python tools/dataset_converters/images_to_coco.py \
        data/cityscapes/leftImg8bit/train_extra \
        --categories data/cityscapes/annotations/\
instancesonly_filtered_gtFine_train.json \
        --out data/cityscapes/annotations/train_extra-unlabeled.json

Names are relative to the folder, in sorted order. Only the head of each file
is read. A file that is not an image is an error, which names it.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.datasets.converters.images import images_to_coco


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('folder')
    parser.add_argument(
        '--categories',
        required=True,
        help='COCO file of the labelled images, whose categories are taken',
    )
    parser.add_argument('--out', required=True)
    images_to_coco(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
