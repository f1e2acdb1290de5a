# SPDX-License-Identifier: Apache-2.0
"""When an AP begins to fall."""

from __future__ import annotations

import pytest
from s4m.evaluation import ApHistory

FALL = (27.8, 26.1, 24.9, 23.3)


def _reports(*aps: float, **kwargs) -> list[int]:
    """Numbers of the validations that report a fall, from AP x 100."""
    history = ApHistory(**kwargs)
    return [i for i, ap in enumerate(aps) if history.add(i, ap / 100)]


def test_history__rising_and_level():
    assert _reports(10, 15, 20, 24, 26) == []
    # Within 1 AP of the best, however long.
    assert _reports(27.8, 27.5, 27.1, 26.9, 27.6, 27.0, 26.9) == []
    assert _reports(0, 0, 0, 0, 0) == []


def test_history__falls_two_and_three_times():
    assert _reports(*FALL[:3]) == []
    assert _reports(20, *FALL) == [4]
    assert _reports(*FALL, patience=2) == [2]
    assert _reports(*FALL, patience=1) == [1]
    assert _reports(*FALL, min_drop=0.05) == []
    assert _reports(*FALL, 21, min_drop=0.05) == [4]


def test_history__noise_on_the_way_down():
    assert _reports(27.8, 26.1, 26.5, 24.9) == [3]
    assert _reports(27.8, 26.0, 24.0, 24.5) == [3]  # low, and stays there
    assert _reports(27.8, 25.0, 26.0, 26.7, 27.5) == []  # it recovers


def test_history__one_report_until_a_new_best():
    down = (26.1, 24.9, 23.3, 22.0, 21.8)
    assert _reports(27.8, *down, 27.0, *down) == [3]
    assert _reports(27.8, *down, 28.0, *down) == [3, 9]


def test_history__continues_from_its_entries():
    """As if it had not been interrupted, before and after the report."""
    whole = ApHistory()
    for i, ap in enumerate(FALL):
        before = ApHistory(entries=whole.entries)
        assert before.add(i, ap) == whole.add(i, ap)
        assert before.entries == whole.entries
    assert not ApHistory(entries=whole.entries).add(4, 0.21)
    whole.add(4, float('nan'))  # no object in the validation set
    assert len(whole.entries) == 4


def test_history__sentences():
    history = ApHistory()
    history.add(800, 0.1)
    for i, ap in enumerate(FALL):
        figures = dict(per_image=3.4 + i, duplicates=0.8 + 0.25 * i, x=1.0)
        history.add(1600 + 100 * i, ap / 100, figures)
    assert history.describe_fall("The student's AP") == (
        "The student's AP has fallen since its best value, 3 validations ago "
        '(27.8 -> 26.1 -> 24.9 -> 23.3) while, per image, pseudo-labels grew '
        'from 3.4 to 6.4, duplicates grew from 0.8 to 1.6'
    )
    assert history.growing('x', 'duplicates') and not history.growing('x')
    assert history.describe_end('AP') == (
        'AP: best 27.8 at iteration 1600, last 23.3 at iteration 1900.'
    )
    for i in range(20):
        history.add(2000 + i, 0.2 - i / 1000)
    text = history.describe_fall('AP')
    assert '27.8 -> 26.1 -> 24.9 -> ... -> 18.4 -> 18.3 -> 18.2' in text
    assert 'while' not in text  # no counts at the last validation


@pytest.mark.parametrize('bad', [0, -1, 2.5, '3'])
def test_history__bad_patience(bad):
    with pytest.raises(ValueError, match=r'patience=.* whole number'):
        ApHistory(patience=bad)


@pytest.mark.parametrize('bad', [-0.1, 1])
def test_history__bad_drop(bad):
    with pytest.raises(ValueError, match=r'min_drop=.* fractions'):
        ApHistory(min_drop=bad)
