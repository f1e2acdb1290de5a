# SPDX-License-Identifier: Apache-2.0
"""CityscapesInstanceMetric on perfect, wrong and ignored predictions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from conftest import CLASSES
from s4m.evaluation import CityscapesInstanceMetric


@pytest.fixture
def metric(shapes_root):
    metric = CityscapesInstanceMetric(str(shapes_root / 'gtFine/val'))
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


def _predictions(shapes_root, change):
    for file in sorted(
        (shapes_root / 'gtFine/val').glob('*/*instanceIds.png')
    ):
        ids = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        values = [v for v in np.unique(ids) if v >= 1000]
        cs = [24, 25, 26, 27, 28, 31, 32, 33]
        masks = (
            np.stack([change(ids == v) for v in values])
            if values
            else (np.zeros((0, *ids.shape), bool))
        )
        path = str(file).replace('gtFine_instanceIds', 'leftImg8bit')
        yield dict(
            img_path=path.replace('gtFine', 'leftImg8bit'),
            pred_instances=dict(
                labels=torch.tensor([cs.index(v // 1000) for v in values]),
                scores=torch.linspace(0.5, 0.9, len(values)),
                masks=torch.from_numpy(masks),
            ),
        )


def test_truth_as_prediction__is_100(metric, shapes_root):
    for sample in _predictions(shapes_root, lambda m: m):
        metric.process({}, [sample])
    assert metric.evaluate(4)['cityscapes/mAP'] == pytest.approx(1.0)


def test_shifted__is_worse(metric, shapes_root):
    for sample in _predictions(shapes_root, lambda m: np.roll(m, 3, 1)):
        metric.process({}, [sample])
    assert metric.evaluate(4)['cityscapes/mAP'] < 0.7


def test_two_metrics__do_not_share_a_folder(metric, shapes_root):
    other = CityscapesInstanceMetric(str(shapes_root / 'gtFine/val'))
    assert other.outfile_prefix != metric.outfile_prefix


def test_index_error__is_nan(metric, monkeypatch):
    def fail(*args, **kwargs):
        raise IndexError('index -1 is out of bounds')

    monkeypatch.setattr(
        'mmdet.evaluation.metrics.cityscapes_metric.evaluateImgLists', fail
    )
    result = metric.compute_metrics([(dict(file_name=''), dict(pred_txt=''))])
    assert np.isnan(result['mAP'])
