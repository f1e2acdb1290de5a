# SPDX-License-Identifier: Apache-2.0
"""The comparison of pseudo-labels with the ground truth."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from s4m.datasets.coco_io import annotation, encode_masks
from s4m.evaluation import MaskComparison, write_quality
from s4m.evaluation.pseudo_label_quality import (
    best_overlap,
    class_precisions,
)

VARIANTS = {
    'given_first': ('given', 'first'),
    'given_second': ('given', 'second'),
    'given_true': ('given', 'true'),
    'true_second': ('true', 'second'),
}


def test_best_overlap__hand_computed():
    objects = torch.zeros(2, 1, 6, dtype=torch.bool)
    objects[0, 0, :2] = objects[1, 0, 3:] = True
    masks = torch.zeros(3, 1, 6, dtype=torch.bool)
    masks[0, 0, 1:4] = masks[1, 0, 3:5] = masks[2, 0, 2] = True
    iou, index = best_overlap(masks, objects)
    assert iou.tolist() == pytest.approx([1 / 4, 2 / 3, 0])
    assert index.tolist() == [0, 1, -1]
    iou, index = best_overlap(masks, objects[:0])
    assert iou.tolist() == [0, 0, 0] and index.tolist() == [-1, -1, -1]


def _objects() -> InstanceData:
    masks = torch.zeros(2, 20, 40, dtype=torch.bool)
    masks[0, 2:12, 2:12] = masks[1, 2:12, 22:32] = True
    return InstanceData(labels=torch.tensor([0, 1]), masks=masks)


def test_comparison__versions_and_oracles_hand_computed():
    """Two objects; one label has the wrong class, one a poor mask."""
    gt = _objects()
    first = gt.masks.clone()
    first[1, 2:12, 27:] = False  # half of it: IoU 0.5
    second = gt.masks.clone()
    second[1, 2:12, 30:] = False  # IoU 0.8
    item = InstanceData(
        labels=torch.tensor([1, 1]), scores=torch.tensor([0.9, 0.8])
    )
    comparison = MaskComparison(('a', 'b'), ('first', 'second'), VARIANTS)
    # Both are wrong, a class, and an IoU that is not above one half; so no
    # object has a right one.
    assert comparison.add(item, dict(first=first, second=second), gt) == 4
    figures = comparison.figures()
    assert figures['class_accuracy'] == 50
    assert figures['first_iou'] == 75
    assert figures['second_iou'] == 90
    # Rows: objects of a and b, nothing; columns: labels a and b.
    assert figures['confusion'] == [[0, 1], [0, 1], [0, 0]]
    assert figures['per_class']['a']['class_accuracy'] == 0
    ap = figures['mask_ap']
    # Class a is never found; b's best label is wrong, so its precision is
    # one half at each IoU that its mask reaches: 7 of 10 in the second.
    assert ap['given_true'] == pytest.approx(25, abs=0.1)
    assert ap['given_second'] == pytest.approx(17.5, abs=0.1)
    assert ap['given_first'] == pytest.approx(2.5, abs=0.1)
    # With the right classes a is perfect and b reaches 7 of 10.
    assert ap['true_second'] == pytest.approx(85, abs=0.1)
    by_class = figures['per_class']
    assert by_class['a']['mask_ap']['true_second'] == 100
    assert by_class['b']['mask_ap']['true_second'] == pytest.approx(70)


def test_comparison__without_a_pseudo_label(tmp_path):
    """A young network predicts nothing: its AP is 0, which is written."""
    gt = _objects()
    none = InstanceData(
        labels=torch.zeros(0, dtype=torch.long), scores=torch.zeros(0)
    )
    comparison = MaskComparison(('a', 'b', 'c'))
    assert comparison.add(none, dict(mask=gt.masks[:0]), gt) == 2
    figures = comparison.figures()
    assert figures['mask_ap'] == 0
    assert (figures['images'], figures['pseudo_labels']) == (1, 0)
    assert figures['per_class'] == dict(a=dict(mask_ap=0), b=dict(mask_ap=0))
    shown = json.loads(write_quality(tmp_path / 'new', figures))
    assert 'confusion' not in shown and shown['mask_ap'] == 0
    assert json.loads((tmp_path / 'new/quality.json').read_text()) == figures
    assert cv2.imread(str(tmp_path / 'new/confusion.png')) is not None
    with pytest.raises(ValueError, match='no image to compare'):
        MaskComparison(('a',)).figures()


def test_comparison__groups_of_objects():
    """A label in a group of its class is not wrong, in one of another is."""
    gt = _objects()
    masks = torch.cat([gt.masks[:1], gt.masks[1:]])
    item = InstanceData(
        labels=torch.tensor([0, 0]), scores=torch.tensor([0.8, 0.9])
    )
    aps = {}
    for label in (0, 1):
        crowds = InstanceData(labels=torch.tensor([label]), masks=gt.masks[1:])
        comparison = MaskComparison(('a', 'b'))
        comparison.add(item, dict(mask=masks), gt[:1], crowds)
        assert comparison.num_objects == 1
        aps[label] = comparison.figures()['mask_ap']
    # The better score is a false positive: precision one half.
    assert aps == {0: 100, 1: 50}


def test_class_precisions__of_more_than_100_objects():
    """100 of 150 objects: 67 of the 101 recalls from 0 to 1 are reached."""
    masks = np.zeros((150, 20, 30), bool)
    for k, mask in enumerate(masks):
        mask[2 * (k // 15), 2 * (k % 15)] = True
    objects = [annotation(1, 1, rle) for rle in encode_masks(masks)]
    found = [dict(o, score=1 - k / 200) for k, o in enumerate(objects)]
    images = [dict(id=1, height=20, width=30)]
    ap, by_class = class_precisions(images, objects, found, ['a'])
    assert ap == by_class['a'] == pytest.approx(100 * 67 / 101, abs=0.05)
    ap, by_class = class_precisions(images, objects, found, ['a'], 200)
    assert ap == by_class['a'] == 100


def test_write_quality__pictures(tmp_path):
    comparison = MaskComparison(('a', 'b'))
    gt = _objects()
    pred = InstanceData(labels=gt.labels, scores=torch.ones(2))
    comparison.add(pred, dict(mask=gt.masks), gt)
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[..., 0] = 200  # red
    figures = comparison.figures()
    write_quality(tmp_path, figures, worst=picture, missing=None)
    assert cv2.imread(str(tmp_path / 'worst.png'))[0, 0].tolist() == [
        0, 0, 200
    ]  # fmt: skip
    assert not (tmp_path / 'missing.png').exists()
