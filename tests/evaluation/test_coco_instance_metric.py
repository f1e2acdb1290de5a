# SPDX-License-Identifier: Apache-2.0
"""AP of a network that predicts nothing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.evaluation.metrics.coco_metric import COCOeval
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from s4m.evaluation import CocoInstanceMetric
from s4m.evaluation.coco_instance_metric import fastest_evaluation


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


def _encode(mask: np.ndarray) -> dict:
    rle = mask_utils.encode(np.asfortranarray(mask))
    return dict(rle, counts=rle['counts'].decode())


def _random_mask(rng: np.random.Generator, size: tuple) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    limit = 0.9 if rng.random() < 0.4 else 0.2
    h, w = (int(rng.integers(2, limit * n)) for n in size)
    y, x = int(rng.integers(0, size[0] - h)), int(rng.integers(0, size[1] - w))
    mask[y : y + h, x : x + w] = 1
    return mask


def _random_data(rng: np.random.Generator) -> tuple[dict, list]:
    """Objects of classes 1 to 3 of 4: polygons, RLE and crowds; predictions.

    Many confidences are equal, some masks empty, some images without either.
    """
    images, objects, predictions = [], [], []
    for i in range(1, 7):
        size = (120 + int(rng.integers(40)), 120 + int(rng.integers(80)))
        image = dict(id=i, height=size[0], width=size[1], file_name=f'{i}')
        images.append(image)
        known = []
        for _ in range(rng.integers(0, 8)):
            mask = _random_mask(rng, size)
            rle, crowd = _encode(mask), int(rng.random() < 0.15)
            x, y, w, h = box = mask_utils.toBbox(rle).tolist()
            shape = rle
            if not crowd and rng.random() < 0.5:
                shape = [[x, y, x + w, y, x + w, y + h, x + 0.3, y + h - 0.6]]
            label = int(rng.integers(1, 4))
            known.append((mask, label))
            objects.append(
                dict(
                    id=len(objects) + 1,
                    image_id=i,
                    category_id=label,
                    bbox=box,
                    area=w * h,
                    iscrowd=crowd,
                    segmentation=shape,
                )
            )
        for _ in range(rng.integers(0, 25)):
            if known and rng.random() < 0.7:
                mask, label = known[int(rng.integers(len(known)))]
                mask = np.roll(mask, rng.integers(-4, 5, 2), (0, 1))
            else:
                mask, label = _random_mask(rng, size), int(rng.integers(1, 5))
            mask = mask * (rng.random() > 0.05)
            score = rng.random()
            predictions.append(
                dict(
                    image_id=i,
                    category_id=label,
                    score=round(score, 1 + 9 * int(rng.integers(2))),
                    segmentation=_encode(mask.astype(np.uint8)),
                )
            )
    classes = [dict(id=k, name=f'{k}') for k in range(1, 5)]
    info = dict(images=images, annotations=objects, categories=classes)
    return dict(info, info={}), predictions


def _evaluation(kind, dataset: dict, predictions: list, metric: str):
    coco = COCO()
    coco.dataset = copy.deepcopy(dataset)
    coco.createIndex()
    found = coco.loadRes(copy.deepcopy(predictions))
    evaluation = kind(coco, found, 'bbox' if metric == 'proposal' else metric)
    evaluation.params.maxDets = [100, 300, 1000]  # MMDet's
    evaluation.params.useCats = int(metric != 'proposal')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


@pytest.mark.parametrize('metric', ['segm', 'bbox', 'proposal'])
def test_faster_evaluation__numbers_of_pycocotools(metric):
    pytest.importorskip('faster_coco_eval')
    rng = np.random.default_rng(0)
    assert fastest_evaluation() is not COCOeval
    for _ in range(20):
        data = (*_random_data(rng), metric)
        fast = _evaluation(fastest_evaluation(), *data)
        slow = _evaluation(COCOeval, *data)
        np.testing.assert_allclose(fast.stats[:12], slow.stats, 0, 1e-12)
        for name in ('precision', 'recall', 'scores'):
            np.testing.assert_allclose(
                fast.eval[name], slow.eval[name], 0, 1e-12
            )


def test_without_faster_coco_eval__pycocotools(monkeypatch):
    name = 's4m.evaluation.coco_instance_metric.COCOeval_faster'
    monkeypatch.setattr(name, None)
    assert fastest_evaluation() is COCOeval


def test_several_metrics_and_evaluations__as_coco_metric(coco_file):
    """The evaluations share the annotations, and leave marks in them."""
    dataset, found = _random_data(np.random.default_rng(3))
    file, results = coco_file(dataset), {}
    for kind in (CocoMetric, CocoInstanceMetric):
        metric = kind(ann_file=file, metric=['bbox', 'segm'], classwise=True)
        metric.dataset_meta = dict(classes=('1', '2', '3', '4'))
        results[kind] = []
        for _ in range(2):
            for image in dataset['images']:
                mine = [p for p in found if p['image_id'] == image['id']]
                boxes = [mask_utils.toBbox(p['segmentation']) for p in mine]
                boxes = torch.tensor(np.reshape(boxes, (-1, 4)))
                boxes[:, 2:] += boxes[:, :2]
                pred = dict(
                    labels=torch.tensor(
                        [p['category_id'] - 1 for p in mine], dtype=torch.long
                    ),
                    scores=torch.tensor([p['score'] for p in mine]),
                    bboxes=boxes,
                    masks=[dict(p['segmentation']) for p in mine],
                )
                shape = (image['height'], image['width'])
                sample = dict(img_id=image['id'], ori_shape=shape)
                metric.process({}, [dict(sample, pred_instances=pred)])
            results[kind].append(metric.evaluate(len(dataset['images'])))
    np.testing.assert_equal(results[CocoInstanceMetric], results[CocoMetric])
    assert 0 < results[CocoMetric][0]['coco/segm_mAP'] < 1
