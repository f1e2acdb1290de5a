# SPDX-License-Identifier: Apache-2.0
"""Every config builds its model, pipelines, hooks and optimiser."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmdet.registry import HOOKS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

CONFIGS = sorted(
    p.relative_to(ROOT / 'configs')
    for p in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in p.parts
)


def _without_downloads(node) -> None:
    if isinstance(node, dict):
        if 'init_cfg' in node:
            node['init_cfg'] = None
        for value in node.values():
            _without_downloads(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _without_downloads(value)


def _pipelines(node):
    """All pipelines below a config node."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'pipeline':
                yield value
            else:
                yield from _pipelines(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _pipelines(value)


def test_names__are_unique():
    """A config's name is the name of its work directory."""
    names = [p.stem for p in CONFIGS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_config__builds(path: Path):
    cfg = Config.fromfile(ROOT / 'configs' / path)
    _without_downloads(cfg._cfg_dict)
    model = MODELS.build(cfg.model)
    if 'detector' in cfg.model:
        assert cfg.model.teacher_checkpoint.startswith('work_dirs/')
        stem = cfg.model.teacher_checkpoint.removeprefix('work_dirs/')
        assert stem in {p.stem for p in CONFIGS}
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        pipelines = list(_pipelines(cfg[name]))
        assert pipelines
        for pipeline in pipelines:
            for step in pipeline:
                TRANSFORMS.build(step)
    for hook in cfg.get('custom_hooks', []):
        HOOKS.build(hook)
    optim = build_optim_wrapper(model, cfg.optim_wrapper)
    PARAM_SCHEDULERS.build(
        cfg.param_scheduler, default_args=dict(optimizer=optim)
    )
    assert cfg.param_scheduler.end == cfg.train_cfg.max_iters

    _check_groups(model, optim.optimizer, cfg)


def _check_groups(model, optimizer, cfg) -> None:
    """Rates and decays of the built groups, by the name of the parameter."""
    found = {
        id(p): (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for p in group['params']
    }
    net = getattr(model, 'student', model)
    base = cfg.optim_wrapper.optimizer
    keys = cfg.optim_wrapper.paramwise_cfg.custom_keys
    norms = {
        id(p)
        for m in net.modules()
        if isinstance(
            m, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm
        )
        for p in m.parameters(recurse=False)
    }
    trained = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    assert len(found) == len(trained)
    for name, param in trained:
        lr, decay = found[id(param)]
        in_backbone = name.startswith('backbone.')
        mult = keys.backbone.lr_mult if in_backbone else 1
        assert lr == pytest.approx(base.lr * mult), name
        embedding = any(
            k in name for k in ('query_embed', 'query_feat', 'level_embed')
        )
        free = id(param) in norms or embedding
        assert decay == (0 if free else base.weight_decay), name
    assert len(optimizer.param_groups) <= 6


def test_paper_settings__s4m_cityscapes():
    """The numbers of the paper's table, read from the built config."""
    cfg = Config.fromfile(ROOT / 'configs/s4m_cityscapes_10p.py')
    assert cfg.train_cfg.max_iters == 90000
    assert cfg.optim_wrapper.optimizer.lr == 1e-4
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.01
    assert cfg.custom_hooks[0] == dict(
        type='BurnInMeanTeacherHook', burn_in=15000, momentum=0.0004
    )
    assert cfg.model.semi_train_cfg.unsup_weight == 2
    assert cfg.model.refiner.segmenter.config == 'sam2_hiera_large'
    assert cfg.train_dataloader.sampler.num_labeled == 4
    assert cfg.model.copy_paste.min_area == 3000
    assert cfg.model.detector.train_cfg.num_points == 12544
    teacher = Config.fromfile(ROOT / 'configs/s4m_teacher_cityscapes_10p.py')
    assert teacher.model.num_points == 128
    assert teacher.train_dataloader.batch_size == 1


@pytest.mark.parametrize(
    ('percent', 'burn_in'), [(5, 15000), (10, 25000), (20, 30000), (30, 35000)]
)
def test_paper_settings__guided_distillation(percent, burn_in):
    name = f'guided_distillation/guided_distillation_cityscapes_{percent}p.py'
    cfg = Config.fromfile(ROOT / 'configs' / name)
    assert cfg.custom_hooks[0].burn_in == burn_in
    assert f'published@{percent}.json' in (
        cfg.train_dataloader.dataset.labeled.ann_file
    )
    assert cfg.model.teacher_checkpoint.endswith(f'cityscapes_{percent}p')


def test_crop__is_512_high_and_1024_wide():
    """MMDet's crop_size is (width, height)."""
    cfg = Config.fromfile(ROOT / 'configs/s4m_cityscapes_10p.py')
    labeled = cfg.train_dataloader.dataset.labeled.pipeline
    (crop,) = (t for t in labeled if t.type == 'RandomCrop')
    out = TRANSFORMS.build(crop)(
        dict(
            img=torch.zeros(600, 1300, 3).numpy(),
            img_shape=(600, 1300),
        )
    )
    assert out['img'].shape == (512, 1024, 3)


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
    import json

    import cv2
    import numpy as np
    from mmengine.runner import Runner

    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(ROOT / 'configs' / 'custom' / f'{name}.py')
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
        cfg.custom_hooks[0].burn_in = 0
        cfg.train_dataloader.batch_size = 4
        cfg.train_dataloader.sampler.update(num_labeled=2, num_unlabeled=2)
    else:
        cfg.model = nano.model
    if cfg.model.get('refiner'):
        cfg.model.refiner.segmenter.update(
            config='nano_sam2', checkpoint='nano_sam2'
        )
    small = dict(type='Resize', scale=(64, 64), keep_ratio=True)
    for pipeline in _pipelines(cfg.train_dataloader):
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
