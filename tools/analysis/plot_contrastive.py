# SPDX-License-Identifier: Apache-2.0
r"""Plot margin, false-negative rate and loss of runs with pixel contrast.

    python tools/analysis/plot_contrastive.py \
        work_dirs/sskd_distill_cityscapes_10p work_dirs/another_run \
        --out contrastive.png

draws the values that the ``ContrastiveDiagnosticsHook`` logged (SSKD,
Figure 3). Each run is a line, whose label is the name of the folder or one of
``--labels``.
"""

from s4m.apis.cli import (
    add_runs,
    labelled_runs,
    make_parser,
    one_line_errors,
)
from s4m.visualization import plot_contrastive_curves


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    add_runs(parser)
    parser.add_argument('--window', type=int, default=5, help='smoothing')
    args = parser.parse_args()
    runs = labelled_runs(parser, args)
    plot_contrastive_curves(runs, args.out, args.window)
    print(args.out)


if __name__ == '__main__':
    main()
