# SPDX-License-Identifier: Apache-2.0
"""The examples for a data set of one's own train."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from conftest import ROOT
from leaf_configs import load, pipelines
from mmengine.config import Config
from mmengine.runner import Runner


def _coco(num: int, classes, labeled: bool) -> dict:
    """COCO dictionary of small images with one polygon each."""
    annotations = [
        dict(
            id=i,
            image_id=i,
            category_id=10 * (1 + i % len(classes)),
            bbox=[8, 8, 40, 40],
            area=1600,
            iscrowd=0,
            segmentation=[[8, 8, 48, 8, 48, 48, 8, 48]],
        )
        for i in range(num)
    ]
    return dict(
        images=[
            dict(id=i, file_name=f'{i}.jpg', height=64, width=64)
            for i in range(num)
        ],
        annotations=annotations if labeled else [],
        categories=[
            dict(id=10 * (i + 1), name=n) for i, n in enumerate(classes)
        ],
    )


@pytest.mark.parametrize(
    'name', ['supervised_custom', 'guided_distillation_custom', 's4m_custom']
)
def test_custom__three_classes(name, tmp_path, monkeypatch):
    """The documented folder layout; one training step of a nano model."""
    monkeypatch.chdir(tmp_path)
    cfg = load(f'custom/{name}')
    detector = cfg.model.get('detector', cfg.model)
    head = detector.panoptic_head
    assert head.num_things_classes == 3
    assert detector.panoptic_fusion_head.num_things_classes == 3
    assert head.loss_cls.class_weight == [1.0] * 3 + [0.1]

    root = tmp_path / 'data/custom'
    rng = np.random.default_rng(0)
    for folder in ('train', 'val'):
        (root / folder).mkdir(parents=True)
        for i in range(4):
            image = rng.integers(0, 256, (64, 64, 3), np.uint8)
            cv2.imwrite(str(root / folder / f'{i}.jpg'), image)
    (root / 'annotations').mkdir()
    for part in ('labeled', 'unlabeled', 'val'):
        data = _coco(4, cfg.classes, part != 'unlabeled')
        (root / f'annotations/{part}.json').write_text(json.dumps(data))

    nano = Config.fromfile(ROOT / 'configs/_base_/models/mask2former_nano.py')
    nano.model.panoptic_head.num_things_classes = 3
    nano.model.panoptic_head.loss_cls.class_weight = [1.0] * 3 + [0.1]
    nano.model.panoptic_fusion_head.num_things_classes = 3
    if 'detector' in cfg.model:
        cfg.model.detector = nano.model
        cfg.default_hooks.mean_teacher.burn_in = 0
        cfg.train_dataloader.batch_size = 4
        cfg.train_dataloader.sampler.update(num_labeled=2, num_unlabeled=2)
    else:
        cfg.model = nano.model
    if cfg.model.get('refiner'):
        cfg.model.refiner.segmenter.update(
            config='nano_sam2', checkpoint='nano_sam2'
        )
    small = dict(type='Resize', scale=(64, 64), keep_ratio=True)
    for pipeline in pipelines(cfg.train_dataloader):
        for k, step in enumerate(pipeline):
            if step.type == 'RandomChoiceResize':
                pipeline[k] = small
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.default_hooks.checkpoint.update(interval=1, save_best=None)
    cfg.work_dir = str(tmp_path / 'work')
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert (tmp_path / 'work/iter_1.pth').is_file()
    assert len(runner.val_dataloader.dataset) == 4
