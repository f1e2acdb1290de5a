# SPDX-License-Identifier: Apache-2.0
"""Predictions and objects, one to one."""

from __future__ import annotations

import numpy as np
import pytest
from s4m.datasets.coco_io import encode_masks
from s4m.evaluation.image_matches import (
    annotation_rle,
    best_threshold,
    confusion_of,
    match_image,
)

SIZE = 40, 60


def box(x, y, w, h, kind=1, **fields):
    mask = np.zeros((1, *SIZE), bool)
    mask[0, y : y + h, x : x + w] = True
    (rle,) = encode_masks(mask)
    return dict(fields, category_id=kind, segmentation=rle)


def test_match__best_score_first_and_each_object_once():
    objects = [box(0, 0, 10, 10), box(20, 0, 10, 10, 2)]
    predictions = [
        box(0, 0, 10, 9, score=0.5),  # a better mask, but later
        box(0, 0, 10, 8, score=0.9),
        box(20, 0, 10, 10, 1, score=0.8),  # of another class
        box(40, 20, 10, 10, score=0.7),  # of nothing
    ]
    found = match_image(objects, predictions, *SIZE)
    assert found.scores.tolist() == [0.9, 0.8, 0.7, 0.5]
    assert found.match.tolist() == [0, 1, -1, -1]
    assert found.right.tolist() == [True, False, False, False]
    assert found.overlap == pytest.approx([0.8, 1, 0, 0.9])
    assert found.covered == pytest.approx([1, 1, 0, 1])
    assert found.object_overlap == pytest.approx([0.9, 1])
    # 1 right of 3 predictions and 2 objects.
    assert found.f1(0.7) == pytest.approx(2 / 5)
    assert found.f1(0.85) == pytest.approx(2 / 3)
    assert found.f1(0.95) == 0


def test_match__empty_images():
    assert match_image([], [], *SIZE).f1(0.5) == 1
    assert match_image([], [box(0, 0, 5, 5, score=0.9)], *SIZE).f1(0.5) == 0
    missed = match_image([box(0, 0, 5, 5)], [], *SIZE)
    assert missed.f1(0.5) == 0 and missed.object_overlap.tolist() == [0]


def test_match__groups_excuse_predictions_in_them():
    crowd = box(0, 0, 30, 30, iscrowd=1)
    inside, outside = box(5, 5, 5, 5, score=0.9), box(40, 0, 9, 9, score=0.8)
    found = match_image([crowd], [inside, outside], *SIZE)
    assert found.objects == [] and found.predictions == [outside]
    assert found.match.tolist() == [-1]


def test_confusion__and_best_threshold_of_two_images():
    first = match_image(
        [box(0, 0, 10, 10), box(20, 0, 10, 10, 7)],
        [
            box(0, 0, 10, 10, score=0.9),
            box(0, 0, 10, 9, score=0.6),  # a second one: not counted
            box(20, 0, 10, 10, score=0.8),
        ],
        *SIZE,
    )
    second = match_image(
        [box(0, 0, 10, 10), box(20, 0, 10, 10, 7)],
        [
            box(0, 0, 10, 10, score=0.95),
            box(40, 20, 9, 9, 7, score=0.7),
            box(20, 0, 10, 10, 7, score=0.2),  # below the threshold
        ],
        *SIZE,
    )
    matrix = confusion_of([first, second], [1, 7], 0.3)
    assert matrix.tolist() == [[2, 0, 0], [1, 0, 1], [0, 1, 0]]
    # Two right ones of two, of four objects: 2 * 2 / (2 + 4).
    threshold, f1 = best_threshold([first, second])
    assert (threshold, f1) == (0.9, pytest.approx(2 / 3))


def test_annotation_rle__three_notations():
    """Polygons, counts as numbers and as text are one mask."""
    polygons = dict(segmentation=[[0, 0, 2, 0, 2, 3, 0, 3]])
    numbers = dict(segmentation=dict(size=[4, 4], counts=[0, 3, 1, 3, 9]))
    text = dict(segmentation=annotation_rle(polygons, 4, 4))
    for item in (numbers, text):
        assert (
            annotation_rle(item, 4, 4)['counts']
            == (text['segmentation']['counts'])
        )


def test_match__more_than_255_objects():
    objects = [box(3 * (i % 20), 3 * (i // 20), 2, 2) for i in range(13 * 20)]
    found = match_image(objects, [dict(o, score=0.5) for o in objects], *SIZE)
    assert found.f1(0.5) == 1
