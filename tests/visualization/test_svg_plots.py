# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from s4m.visualization.curves import Line, Plot
from s4m.visualization.svg_plots import legend_of, svg_plot, ticks


def points_of(element):
    return [tuple(map(float, p.split(','))) for p in element.split()]


def test_svg_plot__values_on_the_scale():
    plot = Plot(
        'a < b',
        [
            Line([(0, 0.0), (10, 100.0)], 'one', 'C0'),
            Line([(0, 50.0), (10, 50.0)], '', 'C1', '.--'),
            Line([], 'nothing', 'C2'),
        ],
        y_range=(0, 100),
    )
    root = ElementTree.fromstring(svg_plot(plot))
    assert root.get('aria-label') == 'a < b'
    first, second = (e for e in root if e.tag == 'polyline')
    assert first.get('class') == 'line C0'
    assert second.get('class') == 'line C1 dashed'
    (x0, y0), (x1, y1) = points_of(first.get('points'))
    assert (x0, x1) == (46, 352) and (y0, y1) == (186, 8)
    assert {y for _, y in points_of(second.get('points'))} == {97}
    assert len([e for e in root if e.tag == 'circle']) == 4
    texts = [e.text for e in root if e.tag == 'text']
    assert {'0', '20', '100', '10', 'iteration'} <= set(texts)
    assert legend_of([plot, plot]) == [('one', 'C0')]


def test_svg_plot__many_points_are_few_and_smoothed():
    values = [(i, float(i % 2)) for i in range(2000)]
    text = svg_plot(Plot('loss', [Line(values, 'a', 'C0')]))
    raw, mean = re.findall(r'<polyline class="([^"]*)" points="([^"]*)"', text)
    assert 'faint' in raw[0] and 'faint' not in mean[0]
    assert len(points_of(raw[1])) <= 400 and '<circle' not in text
    heights = [y for _, y in points_of(mean[1])][20:]
    assert max(heights) - min(heights) < 3  # of 178


@pytest.mark.parametrize('value', [0.3, 0.0, -2.0, 1e-9, 1e6])
def test_svg_plot__one_point(value):
    root = ElementTree.fromstring(
        svg_plot(Plot('ap', [Line([(8, value)], 'a', 'C0')]))
    )
    (point,) = (e for e in root if e.tag == 'circle')
    assert 46 < float(point.get('cx')) < 352
    assert 8 <= float(point.get('cy')) <= 186


def test_svg_plot__without_a_point():
    with pytest.raises(ValueError, match='loss has no point'):
        svg_plot(Plot('loss', [Line([], 'a', 'C0')]))


@pytest.mark.parametrize(
    ('low', 'high', 'expected'),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3, 7, [-2, 0, 2, 4, 6])],
)
def test_ticks__round(low, high, expected):
    assert ticks(low, high) == expected
