# SPDX-License-Identifier: Apache-2.0
"""Margin, false-negative rate and loss of runs with pixel contrast.

    python tools/analysis/plot_contrastive.py \
        work_dirs/sskd_distill_cityscapes_10p work_dirs/another_run \
        --out contrastive.png

reads what the ``ContrastiveDiagnosticsHook`` logged (SSKD, Figure 3): the
margin of Proposition 3.1, the share of sampled negatives that are of the
anchor's own instance, with p = 0.5 as a dashed line, and the loss. A run is
a line; its label is the name of its folder, or ``--labels``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use('Agg')
from matplotlib import pyplot as plt

#: Key in the log -> (panel, line style, suffix of the label).
CURVES = {
    'contrast/margin': (0, '-', ''),
    'contrast/fnr_pred': (1, '-', ', predicted'),
    'contrast/fnr_gt': (1, ':', ', annotated'),
    'loss_contrast': (2, '-', ''),
}
TITLES = ('margin', 'false-negative rate', 'loss')


def read_curves(work_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """(iteration, value) of each key, of all logs of a run.

    Raises:
        ValueError: if there is none.
    """
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    found: dict[str, dict[int, float]] = {key: {} for key in CURVES}
    for log in logs:
        for line in log.read_text().splitlines():
            row = json.loads(line)
            for key in CURVES:
                if key in row and 'step' in row:
                    found[key][row['step']] = row[key]
    if not found['contrast/margin']:
        raise ValueError(
            f'{work_dir} has no contrast/margin in {len(logs)} logs: was it '
            'trained with the ContrastiveDiagnosticsHook?'
        )
    return {key: sorted(values.items()) for key, values in found.items()}


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last ``window`` values at each place."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def draw(runs: dict[str, dict], path: Path, window: int) -> None:
    """Three panels, a line a run.

    Args:
        runs (dict): :func:`read_curves` by label.
        path (Path): Of the picture.
        window (int): Logged values that a point is the mean of.
    """
    figure, panels = plt.subplots(1, 3, figsize=(13, 3.6))
    for number, (label, curves) in enumerate(runs.items()):
        for key, (panel, style, suffix) in CURVES.items():
            if curves[key]:
                steps, values = np.array(curves[key]).T
                panels[panel].plot(
                    steps,
                    smooth(values, window),
                    style,
                    color=f'C{number}',
                    label=label + suffix,
                )
    panels[1].axhline(0.5, color='gray', linestyle='--', linewidth=1)
    panels[1].set_ylim(0, 1)
    for panel, title in zip(panels, TITLES, strict=True):
        panel.set_title(title)
        panel.set_xlabel('iteration')
        panel.legend(fontsize='small')
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('work_dirs', type=Path, nargs='+')
    parser.add_argument('--labels', nargs='+')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--window', type=int, default=5, help='smoothing')
    args = parser.parse_args()
    labels = args.labels or [w.resolve().name for w in args.work_dirs]
    if len(labels) != len(args.work_dirs):
        raise SystemExit(
            f'{len(args.work_dirs)} runs, but {len(labels)} labels'
        )
    if len(set(labels)) < len(labels):
        raise SystemExit(f'Name the runs with --labels: {labels}')
    try:
        runs = {
            label: read_curves(work_dir)
            for label, work_dir in zip(labels, args.work_dirs, strict=True)
        }
    except ValueError as e:
        raise SystemExit(str(e)) from e
    draw(runs, args.out, args.window)
    print(args.out)


if __name__ == '__main__':
    main()
