# SPDX-License-Identifier: Apache-2.0
"""Curves of what runs have logged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Points = list[tuple[int, float]]


def read_scalars(work_dir: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Read what a run has logged, over all times that it was resumed.

    Args:
        work_dir (str | Path): Work directory of the run.

    Returns:
        list[tuple[int, dict]]: (iteration, values) in the order of the
        iterations. Of two values of one iteration the later log's counts. A
        line that is being written is left out.
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
    """Select (iteration, value) of the first of some keys that a row has.

    Args:
        scalars (list): Result of :func:`read_scalars`.
        *keys (str): Names of one quantity in different methods.

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
    """Mean of the last ``window`` values at each place.

    Args:
        values (ndarray): (n, ).
        window (int): Number of values; at the beginning there are fewer.

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
        points (list): (iteration, value); without one nothing is drawn.
        label (str): Entry in the legend.
        color (str): A colour of matplotlib.
        style (str): A line style of matplotlib, solid by default.
    """

    points: Points
    label: str
    color: str
    style: str = '-'


@dataclass
class Plot:
    """One of the plots that :func:`draw_plots` lays side by side.

    Attributes:
        title (str): Text above the plot.
        lines (list[Line]): What it shows.
        y_label (str): Text beside the plot, none by default.
        y_range (tuple[float, float], optional): Limits of the values.
        level (float, optional): Value at which a dashed line is drawn.
        legend (bool): Whether there is a legend, True by default.
    """

    title: str
    lines: list[Line] = field(default_factory=list)
    y_label: str = ''
    y_range: tuple[float, float] | None = None
    level: float | None = None
    legend: bool = True


def draw_plots(
    plots: Sequence[Plot], path: str | Path, window: int = 1
) -> None:
    """Draw plots over the iterations, side by side in one picture.

    Args:
        plots (Sequence[Plot]): What to draw.
        path (str | Path): Picture to write; its folder is made.
        window (int): Number of logged values that a point is the mean of,
            1 by default.
    """
    # Not pyplot: a library does not choose the backend of its user.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.6), layout='tight')
    panels = figure.subplots(1, len(plots), squeeze=False)[0]
    for axes, plot in zip(panels, plots, strict=True):
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
        axes.set_ylabel(plot.y_label)
        axes.grid(alpha=0.3)
        if plot.legend and axes.lines:
            axes.legend(fontsize='small')
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def plot_training_curves(
    runs: Mapping[str, str | Path], path: str | Path
) -> None:
    """Draw mask loss, class loss and number of pseudo-labels of runs.

    Args:
        runs (Mapping[str, str | Path]): Work directories by the name in the
            legend. A run has the same colour in every plot.
        path (str | Path): Picture to write.

    Example::

        plot_training_curves(
            {'Supervised': 'work_dirs/supervised_shapes_5p'}, 'curves.png'
        )
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
    draw_plots(plots, path)


def plot_contrastive_curves(
    runs: Mapping[str, str | Path], path: str | Path, window: int = 5
) -> None:
    """Draw what the ``ContrastiveDiagnosticsHook`` has logged.

    The plots are those of SSKD's Figure 3: the margin of Proposition 3.1, the
    share of sampled negatives that belong to the anchor's own instance, with
    p = 0.5 as a dashed line, and the loss.

    Args:
        runs (Mapping[str, str | Path]): Work directories by the name in the
            legend.
        path (str | Path): Picture to write.
        window (int): Number of logged values that a point is the mean of,
            5 by default.

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
