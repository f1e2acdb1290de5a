# SPDX-License-Identifier: Apache-2.0
"""Draw plots as SVG in the colours of the page that they are part of."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from .curves import Line, Plot, smooth

_WIDTH, _HEIGHT = 360, 220
#: Space left, above, right and below of the area of the values.
_LEFT, _TOP, _RIGHT, _BOTTOM = 46, 8, 8, 34
#: Above this number, the points of a line are not marked.
_MARKED = 25


def svg_plot(plot: Plot) -> str:
    """Draw a plot as an ``<svg>`` element.

    The classes ``C0`` to ``C9`` colour the lines, as the page's style says,
    after matplotlib's names of colours; ``dashed`` is a dashed line. Title,
    unit and legend are left to the page. A line of many points is drawn
    faintly, under its mean of a twentieth of the points.

    Args:
        plot (Plot): Plot with at least one point.

    Returns:
        str: The element.

    Raises:
        ValueError: if the plot has no point.

    Example:
        >>> plot = Plot('loss', [Line([(1, 2.0), (9, 1.0)], 'a', 'C0')])
        >>> svg_plot(plot).startswith('<svg')
        True
    """
    lines = [line for line in plot.lines if line.points]
    if not lines:
        raise ValueError(f'The plot {plot.title} has no point')
    points = np.concatenate([np.array(line.points, float) for line in lines])
    x_range = _widen(points[:, 0].min(), points[:, 0].max())
    low, high = _widen(points[:, 1].min(), points[:, 1].max(), 0.05)
    if plot.y_range is not None:
        low = plot.y_range[0]
        high = high if plot.y_range[1] is None else plot.y_range[1]
    axes = _Axes(x_range, (low, max(high, low + 1e-6)))
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html.escape(plot.title)}">'
    ]
    parts += axes.draw()
    for line in lines:
        parts += _draw_line(line, axes)
    return ''.join([*parts, '</svg>'])


def _widen(low: float, high: float, share: float = 0.0) -> tuple[float, float]:
    """Return a range that is not empty."""
    if high == low:
        # One value: around it, and not below 0 for one that is not negative.
        return (low - 1 if low < 0 or low >= 2 else 0.0), high + 1
    margin = share * (high - low)
    return low - margin, high + margin


class _Axes:
    """Places values in the picture."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x_range, self.y_range = x, y

    def x(self, value: float) -> float:
        low, high = self.x_range
        width = _WIDTH - _LEFT - _RIGHT
        return round(_LEFT + width * (value - low) / (high - low), 1)

    def y(self, value: float) -> float:
        low, high = self.y_range
        height = _HEIGHT - _TOP - _BOTTOM
        return round(_TOP + height * (high - value) / (high - low), 1)

    def draw(self) -> list[str]:
        """Draw the grid and its numbers."""
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        parts = []
        for value in ticks(*self.y_range):
            y = self.y(value)
            parts.append(
                f'<path class="grid" d="M{_LEFT} {y}H{right}"/>'
                f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">'
                f'{value:g}</text>'
            )
        for value in ticks(*self.x_range):
            if value == int(value):
                parts.append(
                    f'<text x="{self.x(value)}" y="{bottom + 15}" '
                    f'text-anchor="middle">{value:g}</text>'
                )
        middle = (_LEFT + right) / 2
        parts.append(
            f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>'
            f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">'
            'iteration</text>'
        )
        return parts


def ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Choose round values in a range.

    Args:
        low (float): Lower end.
        high (float): Upper end, above the lower one.
        number (int): About how many values. Defaults to 5.

    Example:
        >>> ticks(0, 9.7)
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    rough = (high - low) / number
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _draw_line(line: Line, axes: _Axes) -> list[str]:
    """Draw a line, its points if they are few, and its mean if many."""
    steps, values = np.array(line.points, float).T
    style = f'line {line.color}' + (' dashed' if '--' in line.style else '')
    if len(steps) > 2 * _MARKED:
        mean = smooth(values, max(1, len(steps) // 20))
        return [
            _path(steps, values, axes, f'{style} faint'),
            _path(steps, mean, axes, style),
        ]
    parts = [_path(steps, values, axes, style)]
    if len(steps) <= _MARKED:
        parts += [
            f'<circle class="{line.color}" cx="{axes.x(x)}" '
            f'cy="{axes.y(y)}" r="2.5"/>'
            for x, y in zip(steps, values, strict=True)
        ]
    return parts


def _path(
    steps: np.ndarray, values: np.ndarray, axes: _Axes, style: str
) -> str:
    # More points than pixels are not seen.
    pick = np.unique(np.linspace(0, len(steps) - 1, 400).astype(int))
    places = ' '.join(
        f'{axes.x(x)},{axes.y(y)}'
        for x, y in zip(steps[pick], values[pick], strict=True)
    )
    return f'<polyline class="{style}" points="{places}"/>'


def legend_of(plots: Sequence[Plot]) -> list[tuple[str, str]]:
    """List (label, colour) of the labelled lines of plots, each once."""
    entries = {
        line.label: line.color
        for plot in plots
        for line in plot.lines
        if line.label and line.points
    }
    return list(entries.items())
