# SPDX-License-Identifier: Apache-2.0
r"""Compare a file of pseudo-labels or predictions with the ground truth.

    python tools/analysis/evaluate_pseudo_labels.py pseudo_labels.json \
        --ann data/cityscapes/annotations/\
instancesonly_filtered_gtFine_train.json \
        --image-root data/cityscapes/leftImg8bit/train --out work_dirs/quality

compares each pseudo-label with the object that it overlaps best. It prints
mask AP, class accuracy and IoU over all classes and by class, and writes them
with the confusion of the classes and pictures of the images with most errors
(pseudo-labels | ground truth).
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.evaluation import quality_of_file, write_quality


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('file')
    parser.add_argument('--ann', required=True, help='ground truth')
    parser.add_argument('--image-root', help='draws the worst images')
    parser.add_argument('--out', required=True)
    parser.add_argument('--pictures', type=int, default=8)
    args = parser.parse_args()
    figures, picture = quality_of_file(
        args.file,
        args.ann,
        image_root=args.image_root,
        num_pictures=args.pictures,
    )
    print(write_quality(args.out, figures, worst=picture))


if __name__ == '__main__':
    main()
