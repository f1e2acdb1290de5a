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


def test_no_outfile_prefix__no_file_is_written(
    metric, shapes_root, tmp_path, monkeypatch
):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    metric = CityscapesInstanceMetric(metric.seg_prefix)
    metric.dataset_meta = dict(classes=CLASSES)
    for sample in _predictions(shapes_root, lambda m: m):
        metric.process({}, [sample])
    metric.compute_metrics(metric.results)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('region', ['void', 'group'])
def test_all_predictions_ignored__class_has_ap_0(tmp_path, region):
    """A perfect car, and a person where nobody counts: (1 + 0) / 2."""
    folder = tmp_path / 'gtFine/val/city'
    folder.mkdir(parents=True)
    ids = np.full((64, 128), 7, np.uint16)  # road
    areas = dict(
        car=np.s_[0:20, 0:30],
        person=np.s_[30:50, 0:30],
        void=np.s_[0:20, 60:90],
        group=np.s_[30:50, 60:90],
    )
    values = dict(car=26000, person=24000, void=0, group=24)
    for name, area in areas.items():
        ids[area] = values[name]
    cv2.imwrite(str(folder / 'city_0_0_gtFine_instanceIds.png'), ids)
    masks = torch.zeros(2, 64, 128, dtype=torch.bool)
    masks[0][areas['car']] = masks[1][areas[region]] = True
    metric = CityscapesInstanceMetric(str(tmp_path / 'gtFine/val'))
    metric.dataset_meta = dict(classes=CLASSES)
    path = str(folder / 'city_0_0_leftImg8bit.png')
    labels = [CLASSES.index(name) for name in ('car', 'person')]
    pred = dict(
        labels=torch.tensor(labels),
        scores=torch.tensor([0.9, 0.8]),
        masks=masks,
    )
    sample = dict(
        img_path=path.replace('gtFine', 'leftImg8bit'), pred_instances=pred
    )
    metric.process({}, [sample])
    result = metric.evaluate(1)
    assert result == {'cityscapes/mAP': 0.5, 'cityscapes/AP@50': 0.5}


def test_nothing_predicted__is_0(metric, shapes_root):
    for sample in _predictions(shapes_root, lambda m: m):
        pred = sample['pred_instances']
        sample['pred_instances'] = {k: v[:0] for k, v in pred.items()}
        metric.process({}, [sample])
    result = metric.evaluate(4)
    assert result == {'cityscapes/mAP': 0.0, 'cityscapes/AP@50': 0.0}
