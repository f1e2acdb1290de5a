# SPDX-License-Identifier: Apache-2.0
"""The terms of a suggestion against values that were computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from s4m.apis.own_data.suggestion_terms import (
    average_rank,
    class_rarity,
    distances,
    rare_class,
    sam_disagreement,
    select_spread,
    uncertainty,
    view_disagreement,
)
from torch import tensor


def test_uncertainty():
    # 0.25 + 0.09 + 0 = 0.34
    assert uncertainty(tensor([0.5, 0.9, 1.0])).item() == pytest.approx(
        0.34 / 1.34
    )
    assert uncertainty(tensor([])).item() == 0
    assert uncertainty(tensor([1.0, 1.0])).item() == 0


def test_sam_disagreement():
    # 0.8 * 0.25 + 0.5 * 0.6 = 0.5
    value = sam_disagreement(tensor([0.8, 0.5]), tensor([0.75, 0.4]))
    assert value.item() == pytest.approx(0.5 / 1.5)
    assert sam_disagreement(tensor([]), tensor([])).item() == 0


def _strips(*spans):
    masks = torch.zeros(len(spans), 1, 10, dtype=torch.bool)
    for mask, (start, end) in zip(masks, spans, strict=True):
        mask[:, start:end] = True
    return masks


def test_view_disagreement():
    view = tensor([0.9, 0.6]), tensor([0, 1]), _strips((0, 4), (5, 9))
    assert view_disagreement(view, view).item() == pytest.approx(0, abs=1e-6)
    # The first: IoU 3/4, scores 0.1 apart, c = 0.75 * 0.9 = 0.675 both ways.
    # The second has no partner of its class, nor has the other view's.
    other = tensor([0.8, 0.6]), tensor([0, 2]), _strips((0, 3), (5, 9))
    x = ((0.9 + 0.8) * (1 - 0.675) + 0.6 + 0.6) / 2
    assert view_disagreement(view, other).item() == pytest.approx(x / (1 + x))
    # What only one of the views shows is counted by half.
    none = tensor([]), tensor([]).long(), _strips()
    assert view_disagreement(view, none).item() == pytest.approx(0.75 / 1.75)
    assert view_disagreement(none, view).item() == pytest.approx(0.75 / 1.75)
    assert view_disagreement(none, none).item() == 0


def test_rare_class__is_preferred():
    rarity = class_rarity([90, 30, 9])
    assert rarity.tolist() == pytest.approx([0, 2 / 3, 0.9])
    common = rare_class(tensor([0.9] * 50), tensor([0] * 50), rarity)
    rare = rare_class(tensor([0.9, 0.8]), tensor([0, 2]), rarity)
    assert common == 0 and rare.item() == pytest.approx(0.72)
    assert rare_class(tensor([]), tensor([]).long(), rarity) == 0
    value = average_rank(dict(rare=np.array([common, rare, 0.1])))
    assert value.argmax() == 1


def test_average_rank__ties_and_one_image():
    terms = dict(a=np.array([0.1, 0.9, 0.9]), b=np.array([5.0, 1.0, 3.0]))
    # Ranks of a: 0, 1.5, 1.5; of b: 2, 0, 1.
    assert average_rank(terms).tolist() == pytest.approx([0.5, 0.375, 0.625])
    assert average_rank(dict(a=np.array([0.4]))).tolist() == [0.0]


def test_distances():
    corner = np.array([[1.0, 0], [0, 3], [-2, 0]])
    half = np.sqrt(0.5)
    expected = [[0, half, 1], [half, 0, half], [1, half, 0]]
    assert distances(corner, corner) == pytest.approx(np.array(expected))


def test_select__near_duplicates_are_not_both_chosen():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 8))
    features[1] = features[0] + 1e-4
    value = np.linspace(0.2, 0.5, 30)
    value[:2] = 1.0, 0.99
    chosen = [k for k, _, _ in select_spread(value, features, 20)]
    assert chosen[0] == 0 and 1 not in chosen
    # A near-duplicate of a labelled image is not chosen either.
    chosen = [
        k for k, _, _ in select_spread(value, features, 20, features[:1])
    ]
    assert not {0, 1} & set(chosen)


def test_select__equal_values_are_k_center_greedy():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(12, 3))
    rows = select_spread(np.full(12, 0.7), features, 12)
    assert sorted(k for k, _, _ in rows) == list(range(12))
    apart = distances(features - features.mean(0), features - features.mean(0))
    chosen = [rows[0][0]]
    for k, gain, spread in rows[1:]:
        nearest = apart[:, chosen].min(1)
        assert spread == pytest.approx(nearest.max(), abs=1e-7)
        assert nearest[k] == pytest.approx(nearest.max(), abs=1e-7)
        assert gain == pytest.approx(0.7 * spread, abs=1e-7)
        chosen.append(k)
