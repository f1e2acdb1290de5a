# SPDX-License-Identifier: Apache-2.0
"""What teacher and student see of an unlabelled image, by config."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from PIL import Image


@pytest.fixture(scope='module')
def photo(tmp_path_factory) -> str:
    """A coloured image of Cityscapes' aspect."""
    y, x = np.mgrid[:256, :512]
    image = np.stack([y, x // 2, 255 - y], -1).astype(np.uint8)
    path = tmp_path_factory.mktemp('views') / 'photo.png'
    Image.fromarray(image).save(path)
    return str(path)


def _views(pipeline, photo: str, seed: int) -> dict[str, torch.Tensor]:
    np.random.seed(seed)
    compose = Compose([TRANSFORMS.build(step) for step in pipeline])
    out = compose(dict(img_path=photo, img_id=0))
    return {k: v for k, v in out['inputs'].items() if v is not None}


def _without_colors(pipeline) -> list:
    """The same geometry; colours are drawn after it."""
    steps = []
    for step in pipeline:
        step = dict(step)
        if step['type'] == 'SSDColorDistortion':
            continue
        for branch in ('unsup_teacher', 'unsup_student'):
            if branch in step:
                step[branch] = _without_colors(step[branch])
        steps.append(step)
    return steps


@pytest.mark.parametrize(
    ('name', 'student'),
    [
        ('guided_distillation/guided_distillation_cityscapes_10p', 'teacher'),
        (
            'guided_distillation/guided_distillation_same_views_cityscapes_5p',
            'teacher',
        ),
        (
            'guided_distillation/guided_distillation_cutout_cityscapes_5p',
            'teacher',
        ),
        ('s4m_cityscapes_10p', 'clean'),
        ('guided_distillation/guided_distillation_shapes_5p', 'teacher'),
        (
            'guided_distillation/guided_distillation_same_views_shapes_5p',
            'teacher',
        ),
        ('s4m/s4m_shapes_5p', 'clean'),
        ('s4m/s4m_sd_shapes_5p', 'teacher'),
        ('s4m/s4m_pr_shapes_5p', 'teacher'),
        ('s4m/s4m_arp_shapes_5p', 'clean'),
        ('s4m/s4m_pr_arp_shapes_5p', 'clean'),
        ('mixing/guided_distillation_mask_rcnn_cityscapes_10p', 'teacher'),
        ('mixing/s4m_mask_rcnn_cityscapes_10p', 'clean'),
    ],
)
def test_student__starts_from(name, student, photo):
    """Guided Distillation: what the teacher sees. Copy-paste: clean colours.

    The student's strong augmentation comes later, on the device; where there
    is none (``same_views``) the two views are equal.
    """
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    assert (cfg.model.get('copy_paste') is not None) == (student == 'clean')
    pipeline = cfg.train_dataloader.dataset.unlabeled.pipeline
    distorted = 0
    for seed in range(8):
        views = _views(pipeline, photo, seed)
        clean = _views(_without_colors(pipeline), photo, seed)
        assert torch.equal(clean['unsup_teacher'], clean['unsup_student'])
        distorted += not torch.equal(
            views['unsup_teacher'], clean['unsup_teacher']
        )
        source = views if student == 'teacher' else clean
        assert torch.equal(views['unsup_student'], source['unsup_teacher'])
    # Each of SSD's four operations has a probability of one half.
    assert distorted >= 5


@pytest.mark.parametrize(
    'name', ['s4m', 'guided_distillation/guided_distillation']
)
def test_coco__all_views_have_the_images_own_colors(name, photo):
    cfg = Config.fromfile(ROOT / f'configs/{name}_coco_10p.py')
    pipeline = cfg.train_dataloader.dataset.unlabeled.pipeline
    for seed in range(3):
        views = _views(pipeline, photo, seed)
        assert torch.equal(views['unsup_teacher'], views['unsup_student'])
