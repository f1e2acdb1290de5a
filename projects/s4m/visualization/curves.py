# SPDX-License-Identifier: Apache-2.0
"""Draw curves of the logs of runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Points = list[tuple[int, float]]

#: Number of plots in a row of a picture.
_COLUMNS = 3
#: Names of the AP in the results of a validation, of which the first is drawn.
_APS = ('cityscapes/mAP', 'coco/segm_mAP')
#: Logged values of pseudo-labels: key, title and label of the vertical axis.
_PSEUDO_LABELS = (
    ('per_image', 'pseudo-labels', 'per image'),
    ('duplicates', 'duplicates', 'per image'),
    ('without_object', 'without an object', 'per image'),
    ('wrong_class', 'wrong class', 'per image'),
    ('matched_iou', 'masks of matching ones', 'IoU with the object, %'),
)


def read_scalars(work_dir: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Read the logged values of a run, including its resumptions.

    Args:
        work_dir (str | Path): Work directory of the run.

    Returns:
        list[tuple[int, dict]]: (iteration, values) in the order of the
        iterations. A later log overrides values of an earlier one. An
        incomplete line is skipped.
    """
    rows: dict[int, dict[str, Any]] = {}
    for log in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if 'step' in row:
                rows.setdefault(int(row['step']), {}).update(row)
    return sorted(rows.items())


def curve(scalars: list[tuple[int, dict[str, Any]]], *keys: str) -> Points:
    """Select (iteration, value) of the first key that a row has.

    Args:
        scalars (list): Result of :func:`read_scalars`.
        *keys (str): Names of one quantity in different methods.

    Returns:
        list[tuple[int, float]]: points of the rows that have one of the keys.

    Example:
        >>> curve([(1, dict(loss_cls=2.0)), (2, dict(lr=0.1))], 'loss_cls')
        [(1, 2.0)]
    """
    return [
        (step, next(row[key] for key in keys if key in row))
        for step, row in scalars
        if any(key in row for key in keys)
    ]


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Compute the mean of the last ``window`` values at each position.

    Args:
        values (ndarray): (n, ) values.
        window (int): Number of values in a mean, fewer at the beginning.

    Returns:
        ndarray: (n, ) means.

    Example:
        >>> smooth(np.array([3.0, 6.0, 9.0]), 2).tolist()
        [3.0, 4.5, 7.5]
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


@dataclass
class Line:
    """One line of a :class:`Plot`.

    Attributes:
        points (list): Pairs (iteration, value). An empty list draws nothing.
        label (str): Entry in the legend; empty for none.
        color (str): Colour in matplotlib's notation.
        style (str): Line style in matplotlib's notation. Defaults to ``-``.
    """

    points: Points
    label: str
    color: str
    style: str = '-'


@dataclass
class Plot:
    """One plot of a picture by :func:`draw_plots`.

    Attributes:
        title (str): Text above the plot.
        lines (list[Line]): Lines of the plot. Defaults to none.
        y_label (str): Label of the vertical axis. Defaults to none.
        y_range (tuple[float, float | None], optional): Limits of the
            values; None for the upper one is that of the lines. Defaults to
            None, the range of the lines.
        level (float, optional): Value at which a dashed line is drawn.
            Defaults to None.
        legend (bool): Whether there is a legend. Defaults to True.

    Example:
        >>> line = Line([(1, 2.0), (2, 1.5)], 'supervised', 'C0')
        >>> Plot('loss', [line], y_range=(0, 3)).lines[0].label
        'supervised'
    """

    title: str
    lines: list[Line] = field(default_factory=list)
    y_label: str = ''
    y_range: tuple[float, float | None] | None = None
    level: float | None = None
    legend: bool = True


def draw_plots(
    plots: Sequence[Plot], path: str | Path, window: int = 1
) -> None:
    """Draw plots over the iterations, three in a row of one picture.

    Args:
        plots (Sequence[Plot]): Plots to draw.
        path (str | Path): Picture to write; its folder is made.
        window (int): A point is the mean of this many logged values.
            Defaults to 1.
    """
    # pyplot would choose a backend, which is the user's choice.
    from matplotlib.figure import Figure

    columns = min(len(plots), _COLUMNS)
    rows = -(-len(plots) // columns)
    size = (13 * columns / _COLUMNS, 3.6 * rows)
    figure = Figure(figsize=size, layout='tight')
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes in panels[len(plots) :]:
        axes.set_axis_off()
    for axes, plot in zip(panels, plots, strict=False):
        for line in plot.lines:
            if line.points:
                steps, values = np.array(line.points, float).T
                axes.plot(
                    steps,
                    smooth(values, window),
                    line.style,
                    color=line.color,
                    label=line.label,
                )
        if plot.level is not None:
            axes.axhline(plot.level, color='gray', linestyle='--', linewidth=1)
        if plot.y_range is not None:
            axes.set_ylim(*plot.y_range)
        axes.set_title(plot.title)
        axes.set_xlabel('iteration')
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel(plot.y_label)
        axes.grid(alpha=0.3)
        if plot.legend and any(line.points for line in plot.lines):
            axes.legend(fontsize='small')
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def training_plots(runs: Mapping[str, str | Path]) -> list[Plot]:
    """Collect mask loss, class loss and number of pseudo-labels of runs.

    Args:
        runs (Mapping[str, str | Path]): Work directories by the name in the
            legend. A run has the same colour in every plot.

    Returns:
        list[Plot]: Three plots, also where nothing was logged.
    """
    plots = [
        Plot('mask loss, labelled'),
        Plot('class loss, labelled', legend=False),
        Plot('pseudo-labels', y_label='per image', legend=False),
    ]
    keys = (
        ('sup_loss_mask', 'loss_mask'),
        ('sup_loss_cls', 'loss_cls'),
        ('num_pseudo',),
    )
    for number, (label, work_dir) in enumerate(runs.items()):
        scalars = read_scalars(work_dir)
        for plot, names in zip(plots, keys, strict=True):
            points = curve(scalars, *names)
            plot.lines.append(Line(points, label, f'C{number}'))
    return plots


def plot_training_curves(
    runs: Mapping[str, str | Path], path: str | Path
) -> None:
    """Draw the plots of :func:`training_plots`.

    Args:
        runs (Mapping[str, str | Path]): Work directories by the name in the
            legend.
        path (str | Path): Picture to write.

    Example::

        plot_training_curves(
            {'Supervised': 'work_dirs/supervised_shapes_5p'}, 'curves.png'
        )
    """
    draw_plots(training_plots(runs), path)


def plot_contrastive_curves(
    runs: Mapping[str, str | Path], path: str | Path, window: int = 5
) -> None:
    """Draw the values that the ``ContrastiveDiagnosticsHook`` logs.

    As in Figure 3 of SSKD, the plots show the margin of Proposition 3.1, the
    share of sampled negatives in the anchor's instance, with p = 0.5 as a
    dashed line, and the loss.

    Args:
        runs (Mapping[str, str | Path]): Work directories by the name in the
            legend.
        path (str | Path): Picture to write.
        window (int): A point is the mean of this many logged values.
            Defaults to 5.

    Raises:
        ValueError: if a run has logged no margin.
    """
    margin, rate, loss = (
        Plot('margin'),
        Plot('false-negative rate', y_range=(0, 1), level=0.5),
        Plot('loss'),
    )
    for number, (label, work_dir) in enumerate(runs.items()):
        color = f'C{number}'
        scalars = read_scalars(work_dir)
        points = curve(scalars, 'contrast/margin')
        if not points:
            raise ValueError(
                f'{work_dir} has logged no contrast/margin in '
                f'{len(scalars)} iterations: was it trained with the '
                'ContrastiveDiagnosticsHook?'
            )
        margin.lines.append(Line(points, label, color))
        for key, style, suffix in (
            ('contrast/fnr_pred', '-', ', predicted'),
            ('contrast/fnr_gt', ':', ', annotated'),
        ):
            points = curve(scalars, key)
            rate.lines.append(Line(points, label + suffix, color, style))
        points = curve(scalars, 'loss_contrast')
        loss.lines.append(Line(points, label, color))
    draw_plots([margin, rate, loss], path, window)


def drift_plots(runs: Mapping[str, str | Path]) -> list[Plot]:
    """Collect AP and pseudo-labels of runs with a ``PseudoLabelDriftHook``.

    The plots show the AP of student and teacher at each validation, numbers
    of pseudo-labels and duplicates per image and, where the hook knows the
    ground truth of unlabelled images, what is wrong with the pseudo-labels.

    Args:
        runs (Mapping[str, str | Path]): Work directories by the name in the
            legend. A run has the same colour in every plot.

    Returns:
        list[Plot]: Plots of what at least one run has logged.
    """
    ap = Plot('AP of student; dashed: teacher', y_label='AP x 100')
    others = [
        # A count is small or large beside 0, an IoU is not.
        Plot(name, y_label=unit, y_range=(0, None) if 'per' in unit else None)
        for _, name, unit in _PSEUDO_LABELS
    ]
    for number, (label, work_dir) in enumerate(runs.items()):
        scalars, color = read_scalars(work_dir), f'C{number}'
        for prefix, style, name in (
            ('student/', '.-', label),
            ('', '.-', label),
            ('teacher/', '.--', ''),
        ):
            points = curve(scalars, *(prefix + key for key in _APS))
            points = [(step, 100 * value) for step, value in points]
            ap.lines.append(Line(points, name, color, style))
        for plot, (key, *_) in zip(others, _PSEUDO_LABELS, strict=True):
            points = curve(scalars, f'pseudo_labels/{key}')
            plot.lines.append(Line(points, label, color, '.-'))
    plots = [
        plot
        for plot in (ap, *others)
        if any(line.points for line in plot.lines)
    ]
    for plot in plots[1:]:
        plot.legend = False
    return plots


def plot_drift_curves(
    runs: Mapping[str, str | Path], path: str | Path
) -> None:
    """Draw the plots of :func:`drift_plots`.

    Args:
        runs (Mapping[str, str | Path]): Work directories by the name in the
            legend.
        path (str | Path): Picture to write.

    Raises:
        ValueError: if no run has logged an AP or numbers of pseudo-labels.
    """
    plots = drift_plots(runs)
    if not plots:
        raise ValueError(
            f'{", ".join(map(str, runs.values()))}: no AP and no numbers of '
            'pseudo-labels are logged. Were they trained with validations '
            'and the PseudoLabelDriftHook?'
        )
    draw_plots(plots, path)
