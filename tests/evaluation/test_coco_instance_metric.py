# SPDX-License-Identifier: Apache-2.0
"""AP of a network that predicts nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from pycocotools import mask as mask_utils
from s4m.evaluation import CocoInstanceMetric


@pytest.fixture
def ann_file(coco_file) -> str:
    return coco_file(
        dict(
            images=[dict(id=1, file_name='1.jpg', height=9, width=9)],
            annotations=[
                dict(
                    id=1,
                    image_id=1,
                    category_id=1,
                    bbox=[1, 1, 4, 4],
                    area=16,
                    iscrowd=0,
                    segmentation=[[1, 1, 5, 1, 5, 5, 1, 5]],
                )
            ],
            categories=[dict(id=1, name='a')],
        )
    )


def _evaluate(kind: type, ann_file: str, masks: np.ndarray) -> dict:
    metric = kind(ann_file=ann_file, metric='segm')
    metric.dataset_meta = dict(classes=('a',))
    rle = [mask_utils.encode(np.asfortranarray(m)) for m in masks]
    pred = dict(
        labels=torch.zeros(len(masks), dtype=torch.long),
        scores=torch.full((len(masks),), 0.9),
        bboxes=torch.zeros(len(masks), 4),
        masks=rle,
    )
    metric.process({}, [dict(img_id=1, ori_shape=(9, 9), pred_instances=pred)])
    return metric.evaluate(size=1)


def test_nothing_predicted__is_an_ap_of_0(ann_file):
    nothing = np.zeros((0, 9, 9), np.uint8)
    assert _evaluate(CocoMetric, ann_file, nothing) == {}  # why it is here
    metrics = _evaluate(CocoInstanceMetric, ann_file, nothing)
    names = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
    assert metrics == {f'coco/segm_{name}': 0.0 for name in names}


def test_predictions__as_coco_metric(ann_file):
    mask = np.zeros((1, 9, 9), np.uint8)
    mask[0, 1:5, 1:5] = 1
    ours = _evaluate(CocoInstanceMetric, ann_file, mask)
    assert ours == _evaluate(CocoMetric, ann_file, mask)
    assert ours['coco/segm_mAP'] == 1


def test_subset__only_evaluated_images_count(coco_file):
    """``indices`` of the data set leaves the other images out."""
    box = dict(category_id=1, bbox=[1, 1, 4, 4], area=16, iscrowd=0)
    polygon = [[1, 1, 5, 1, 5, 5, 1, 5]]
    file = coco_file(
        dict(
            images=[
                dict(id=i, file_name=f'{i}.jpg', height=9, width=9)
                for i in (1, 2)
            ],
            annotations=[
                dict(box, id=i, image_id=i, segmentation=polygon)
                for i in (1, 2)
            ],
            categories=[dict(id=1, name='a')],
        )
    )
    mask = np.zeros((1, 9, 9), np.uint8)
    mask[0, 1:5, 1:5] = 1
    assert _evaluate(CocoMetric, file, mask)['coco/segm_mAP'] < 0.6
    assert _evaluate(CocoInstanceMetric, file, mask)['coco/segm_mAP'] == 1
