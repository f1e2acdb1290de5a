# SPDX-License-Identifier: Apache-2.0
"""Negatives against loops in float64 and exact probabilities."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from contrastive_inputs import make_inputs, weights_oracle
from s4m.models.losses import (
    FeatureGrid,
    PixelDescriptors,
    draw_negatives,
    negative_weights,
    pixel_descriptors,
)
from s4m.models.losses.negatives import descriptor
from scipy import stats


# ------------------------------------------------------------- descriptors
def test_descriptors__float64_loop():
    _, _, masks, logits = make_inputs()
    grid = FeatureGrid.covering((12, 16), (12, 16))
    found = pixel_descriptors(masks, logits, grid, mask_temperature=0.5)
    masks, logits = masks.double(), logits.double()
    for b, p in itertools.product(range(2), range(12 * 16)):
        values = [m / 0.5 for m in masks[b].flatten(1)[:, p].tolist()]
        top = max(values)
        share = [math.exp(v - top) for v in values]
        share = [v / sum(share) for v in share]
        probs = [F.softmax(row, 0).tolist() for row in logits[b]]
        fused = [
            sum(share[k] * probs[k][c] for k in range(5)) for c in range(4)
        ]
        assert found.queries[b, p].tolist() == pytest.approx(share, abs=1e-6)
        assert found.classes[b, p].tolist() == pytest.approx(fused, abs=1e-6)
        strongest = max(range(5), key=share.__getitem__)
        nothing = max(range(4), key=fused.__getitem__) == 3
        assert found.instances[b, p] == (5 if nothing else strongest)


def test_descriptors__instances_of_no_object():
    classes = torch.tensor([[[0.2, 0.8], [0.9, 0.1]]])
    queries = torch.tensor([[[0.9, 0.1], [0.3, 0.7]]])
    found = PixelDescriptors(queries, classes).instances
    assert found.tolist() == [[2, 1]]


# ----------------------------------------------------------------- weights
@pytest.mark.parametrize('sampling', ['uniform', 'mask', 'class', 'fusion'])
def test_weights__float64_loop(sampling):
    _, _, masks, logits = make_inputs(grid=(2, 3))
    grid = FeatureGrid.covering((2, 3), (12, 16))
    descriptors = pixel_descriptors(masks, logits, grid)
    others = F.normalize(descriptors.classes.flatten(0, 1), dim=1)
    expected = weights_oracle(descriptors, sampling)
    for b in range(2):
        own = slice(6 * b, 6 * b + 6)
        within = descriptor(
            descriptors.queries[b], descriptors.classes[b], sampling
        )
        anchors = torch.tensor([4, 0, 5])
        found = negative_weights(anchors, own, within, others, sampling)
        torch.testing.assert_close(
            found.double(), expected[own][anchors], atol=2e-5, rtol=0
        )


# ---------------------------------------------------------------- sampling
def test_draw__first_draw_is_proportional():
    """Chi-square over 40000 draws of one negative; nothing of weight 0."""
    weights = torch.tensor([0.5, 0.0, 1.5, 2.0, 0.25, 0.75])
    index, found = draw_negatives(weights.expand(40000, -1), 1)
    assert found.all()
    counts = torch.bincount(index[:, 0], minlength=6)
    assert counts[1] == 0
    kept = weights > 0
    expected = 40000 * weights[kept] / weights.sum()
    p = stats.chisquare(counts[kept].numpy(), expected.numpy()).pvalue
    assert p > 1e-3


def test_draw__without_replacement_equals_sequential_draws():
    """All ordered triples, against the product of sequential probabilities."""
    weights = [0.5, 1.0, 0.0, 2.0, 1.5]
    draws = 60000
    index, found = draw_negatives(torch.tensor(weights).expand(draws, -1), 3)
    assert found.all()
    flat = (index[:, 0] * 25 + index[:, 1] * 5 + index[:, 2]).bincount(
        minlength=125
    )
    observed, expected = [], []
    for triple in itertools.product(range(5), repeat=3):
        left, probability = sum(weights), 1.0
        for k, item in enumerate(triple):
            repeated = item in triple[:k]
            probability *= 0 if repeated else weights[item] / left
            left -= weights[item]
        count = int(flat[triple[0] * 25 + triple[1] * 5 + triple[2]])
        if probability == 0:
            assert count == 0
        else:
            observed.append(count)
            expected.append(draws * probability)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_draw__fewer_candidates_than_asked_for():
    weights = torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    index, found = draw_negatives(weights, 3)
    assert found.sum(1).tolist() == [2, 0]
    assert set(index[0, found[0]].tolist()) == {1, 3}
