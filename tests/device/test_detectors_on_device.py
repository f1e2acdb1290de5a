# SPDX-License-Identifier: Apache-2.0
"""A training step of every segmenter of configs/mixing on a device."""

from __future__ import annotations

import contextlib

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from nano import DETECTORS, shallow
from s4m.structures.pseudo_instances import detector_targets

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]

SIZE = (64, 96)
TYPES = dict(fp32=None, bf16=torch.bfloat16, fp16=torch.float16)


def _samples(num: int, branch: str) -> list[DetDataSample]:
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 8:40, 10:44] = masks[1, 20:60, 50:90] = True
    objects = InstanceData(labels=torch.tensor([1, 3]), masks=masks)
    return [
        DetDataSample(
            metainfo=dict(img_shape=SIZE, ori_shape=SIZE),
            gt_instances=detector_targets(objects[:n], SIZE),
        )
        for n in (2, num)
    ]


def _autocast(name: str):
    if TYPES[name] is None:
        return contextlib.nullcontext()
    return torch.autocast('cuda', TYPES[name])


@pytest.fixture(scope='module', params=DETECTORS)
def segmentor(request, device):
    """Teacher and student of a detector, and a batch."""
    torch.manual_seed(0)
    detector = shallow(request.param)
    # An untrained detector finds objects everywhere.
    cfg = detector.test_cfg.get('rcnn', detector.test_cfg)
    # QueryInst keeps all of its 8 queries.
    cfg.max_per_img = 8 if request.param == 'QueryInst' else 4
    preprocessor = dict(detector.data_preprocessor)
    preprocessor.update(type='SemiDataPreprocessor', pad_size_divisor=32)
    preprocessor.setdefault('mean', [123.675, 116.28, 103.53])
    preprocessor.setdefault('std', [58.395, 57.12, 57.375])
    segmenter = dict(
        type='SAM2Segmenter', config='nano_sam2', checkpoint='nano_sam2'
    )
    model = MODELS.build(
        ConfigDict(
            type='SemiInstanceSegmentor',
            detector=detector,
            data_preprocessor=preprocessor,
            pseudo_labeler=dict(
                type='PredictionPseudoLabeler', score_thr=0.0, size_thr=4
            ),
            refiner=dict(type='PseudoLabelRefiner', segmenter=segmenter),
            copy_paste=dict(type='RefinedCopyPaste', min_area=0),
            strong_augment=dict(type='StrongAugment'),
        )
    )
    model.init_weights()
    model.unsup_weight = 2.0
    return model.to('cuda').train()


def _batch() -> dict:
    images = [torch.randint(0, 256, (3, *SIZE)).byte() for _ in range(2)]
    branches = ('sup', 'unsup_teacher', 'unsup_student')
    return dict(
        inputs={b: images for b in branches},
        data_samples={b: _samples(0, b) for b in branches},
    )


@pytest.mark.parametrize('precision', TYPES)
def test_step__of_any_segmenter(segmentor, precision):
    """Teacher, labels, SAM 2, copy-paste, losses and gradients."""
    segmentor.zero_grad()
    torch.manual_seed(1)
    with _autocast(precision):
        data = segmentor.data_preprocessor(_batch(), True)
        losses = segmentor(**data, mode='loss')
        total, _ = segmentor.parse_losses(losses)
    assert total.is_cuda and torch.isfinite(total)
    total.backward()
    grads = [
        p.grad for p in segmentor.student.parameters() if p.grad is not None
    ]
    assert all(torch.isfinite(g).all() for g in grads)
    assert sum(float(g.abs().sum()) for g in grads) > 0
