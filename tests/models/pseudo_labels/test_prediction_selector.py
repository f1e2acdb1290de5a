# SPDX-License-Identifier: Apache-2.0
"""From predictions of several views to the pseudo-labels of an image."""

from __future__ import annotations

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from s4m.models.pseudo_labels.prediction_selector import (
    PredictionSelector,
    merge_views,
    remove_overlap,
)


def _instances(*boxes, scores, labels, size=(20, 40)):
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (y0, y1, x0, x1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return InstanceData(
        masks=masks,
        scores=torch.tensor(scores),
        labels=torch.tensor(labels),
    )


def test_merge_views__hand_computed():
    plain = _instances(
        (0, 10, 0, 10), (10, 20, 0, 10), scores=[0.6, 0.5], labels=[0, 1]
    )
    # Mirrored: the first object again with more confidence, another class
    # at the second one's place, and one that the plain view missed.
    turned = _instances(
        (0, 10, 31, 40), (10, 20, 30, 40), (0, 10, 0, 10),
        scores=[0.9, 0.4, 0.3], labels=[0, 0, 1],
    )  # fmt: skip
    merged = merge_views([plain, turned], [False, True])
    assert merged.scores.tolist() == pytest.approx([0.9, 0.5, 0.4, 0.3])
    assert merged.labels.tolist() == [0, 1, 0, 1]
    assert merged.masks[0, 0].nonzero()[:, 0].tolist() == list(range(9))
    assert merged.masks[3, 0].nonzero()[:, 0].tolist() == list(range(30, 40))


def test_remove_overlap__best_score_wins():
    item = _instances(
        (0, 10, 0, 10), (0, 10, 5, 20), (0, 10, 2, 4),
        scores=[0.5, 0.4, 0.3], labels=[0, 1, 2],
    )  # fmt: skip
    out = remove_overlap(item)
    by_label = {int(k): m for k, m in zip(out.labels, out.masks, strict=True)}
    assert set(by_label) == {0, 1}  # the third has no pixel left
    assert by_label[0].sum() == 100 and by_label[1].sum() == 100
    assert not (by_label[0] & by_label[1]).any()


def test_selector__thresholds_of_classes_and_area():
    options = dict(score_thr=0.5, min_area=50, max_per_image=2)
    select = PredictionSelector(['a', 'b'], class_thr={'b': 0.2}, **options)
    sample = DetDataSample(metainfo=dict(ori_shape=(20, 40)))
    pred = _instances(
        (0, 10, 0, 10), (0, 10, 0, 10), (0, 10, 0, 10), (0, 5, 0, 10),
        (0, 10, 0, 10),
        scores=[0.4, 0.3, 0.9, 0.99, 0.6], labels=[0, 1, 1, 0, 0],
    )  # fmt: skip
    out = select(pred, sample)
    assert out.scores.tolist() == pytest.approx([0.9, 0.6])
    with pytest.raises(ValueError, match='which are no classes'):
        PredictionSelector(['a', 'b'], class_thr={'c': 0.1}, **options)
