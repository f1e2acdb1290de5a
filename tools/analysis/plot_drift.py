# SPDX-License-Identifier: Apache-2.0
r"""Plot AP and pseudo-labels of semi-supervised runs over the iterations.

    python tools/analysis/plot_drift.py work_dirs/s4m_cityscapes_10p \
        work_dirs/another_run --out drift.png

draws the AP of student and teacher at each validation, and what the
``PseudoLabelDriftHook`` logged: numbers of pseudo-labels and duplicates and,
where it knows the ground truth, what is wrong with the pseudo-labels. Each run
has a colour; its name is that of the folder or one of ``--labels``.
"""

from s4m.apis.cli import (
    add_runs,
    labelled_runs,
    make_parser,
    one_line_errors,
)
from s4m.visualization import plot_drift_curves


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    add_runs(parser)
    args = parser.parse_args()
    plot_drift_curves(labelled_runs(parser, args), args.out)
    print(args.out)


if __name__ == '__main__':
    main()
