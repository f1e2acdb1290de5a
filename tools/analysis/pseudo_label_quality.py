# SPDX-License-Identifier: Apache-2.0
r"""Measure the teacher's pseudo-labels before and after refinement.

    python tools/analysis/pseudo_label_quality.py \
        configs/s4m/s4m_shapes_5p.py --ann data/shapes/annotations/\
instancesonly_filtered_gtFine_train.json --out work_dirs/quality

compares the pseudo-labels of the unlabelled images with the ground truth, as
S4M's motivating figure does. It writes ``quality.json``, pictures (teacher |
refined | ground truth) of some images, and the confusion of the classes.
"""

from s4m.apis.cli import make_parser, one_line_errors
from s4m.apis.config import get_config
from s4m.evaluation import quality_of_teacher, write_quality


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config')
    parser.add_argument('--ann', required=True, help='ground truth')
    parser.add_argument('--teacher', help='instead of teacher_checkpoint')
    parser.add_argument('--out', required=True)
    parser.add_argument('--pictures', type=int, default=8)
    args = parser.parse_args()
    cfg = get_config(args.config)
    if args.teacher:
        cfg.model.teacher_checkpoint = args.teacher
    figures, picture = quality_of_teacher(
        cfg, args.ann, num_pictures=args.pictures
    )
    print(write_quality(args.out, figures, pseudo_labels=picture))


if __name__ == '__main__':
    main()
