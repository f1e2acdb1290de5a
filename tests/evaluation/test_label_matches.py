# SPDX-License-Identifier: Apache-2.0
"""Which objects pseudo-labels match."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import InstanceData
from s4m.evaluation import LabelMatches, MaskComparison
from s4m.evaluation.label_matches import figures_of
from s4m.evaluation.pseudo_label_quality import best_overlap


def _image() -> tuple[InstanceData, torch.Tensor, InstanceData]:
    """Two objects and six labels, with what is wrong with each label."""
    objects = torch.zeros(2, 4, 40, dtype=torch.bool)
    objects[0, :, :10] = objects[1, :, 20:30] = True
    spans = (
        (0, 8),  # the first object, IoU 0.8, but not its best score
        (0, 9),  # the first object, IoU 0.9: matches
        (20, 30),  # the second object, IoU 1, but another class
        (32, 40),  # nothing there
        (26, 34),  # the second object, IoU 4 / 14: none
        (0, 5),  # the first object, IoU 0.5
    )
    masks = torch.zeros(6, 4, 40, dtype=torch.bool)
    for mask, (first, end) in zip(masks, spans, strict=True):
        mask[:, first:end] = True
    pred = InstanceData(
        labels=torch.tensor([0, 0, 0, 1, 1, 0]),
        scores=torch.tensor([0.8, 0.9, 0.7, 0.99, 0.95, 0.75]),
    )
    return (
        pred,
        masks,
        InstanceData(labels=torch.tensor([0, 1]), masks=objects),
    )


WANT = dict(
    matched=2, second=2, without_object=2, wrong_class=1, matched_iou=95
)


def test_matches__hand_computed():
    pred, masks, gt = _image()
    matches = LabelMatches()
    matches.add(pred, gt.labels, *best_overlap(masks, gt.masks))
    assert matches.figures() == pytest.approx(WANT)
    # An image without a label, and one without an object.
    matches.add(pred[:0], gt.labels, *best_overlap(masks[:0], gt.masks))
    matches.add(pred, gt.labels[:0], *best_overlap(masks, gt.masks[:0]))
    assert matches.figures() == pytest.approx(
        dict(
            matched=2 / 3,
            second=2 / 3,
            without_object=8 / 3,
            wrong_class=1 / 3,
            matched_iou=95,
        )
    )


def test_matches__nothing():
    assert LabelMatches().figures() == {}
    pred, masks, gt = _image()
    matches = LabelMatches()
    matches.add(pred[:0], gt.labels, *best_overlap(masks[:0], gt.masks))
    assert matches.figures() == dict(
        matched=0, second=0, without_object=0, wrong_class=0
    )


def test_matches__sums_of_processes_add_up():
    pred, masks, gt = _image()
    one, two = LabelMatches(), LabelMatches()
    one.add(pred, gt.labels, *best_overlap(masks, gt.masks))
    assert figures_of(one.sums + two.sums) == pytest.approx(WANT)


def test_comparison__has_the_counts():
    """The tools that compare pseudo-labels show them too."""
    pred, masks, gt = _image()
    comparison = MaskComparison(('a', 'b'))
    comparison.add(pred, dict(mask=masks), gt)
    figures = comparison.figures()
    assert {key: figures[key] for key in WANT} == pytest.approx(WANT)
    assert figures['per_image'] == 6
