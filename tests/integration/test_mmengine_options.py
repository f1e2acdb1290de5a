# SPDX-License-Identifier: Apache-2.0
"""Options of MMEngine in a semi-supervised training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from s4m.apis.training import run_training
from short_trainings import guided_config, train


def _losses(cfg: Config, iters: int = 2) -> list[float]:
    """Total loss of each iteration."""
    runner = train(cfg, iters)
    return list(runner.message_hub.get_scalar('train/loss').data[0])


def test_activation_checkpointing__same_losses(shapes_config):
    plain, saving = guided_config(shapes_config), guided_config(shapes_config)
    saving.model.detector.backbone.with_cp = True
    for cfg in (plain, saving):
        # The second pass moves the statistics of batch normalisation again (as
        # in MMDet), and with them the averaged teacher's labels.
        cfg.default_hooks.mean_teacher.update(burn_in=0, momentum=1e-6)
    a, b = _losses(plain), _losses(saving)
    assert b == pytest.approx(a, rel=1e-5)


def test_accumulation__same_losses_until_the_first_step(shapes_config):
    """The third iteration is the first that a step of two has changed."""
    plain, saving = guided_config(shapes_config), guided_config(shapes_config)
    for cfg in (plain, saving):
        cfg.model.strong_augment = None
        # Statistics of batch normalisation move in every iteration.
        cfg.default_hooks.mean_teacher.update(burn_in=0, momentum=1e-6)
    saving.optim_wrapper.accumulative_counts = 2
    a, b = _losses(plain, 3), _losses(saving, 3)
    # MMEngine divides the loss, not the logged one.
    assert b[0] == pytest.approx(a[0], rel=1e-5)
    assert b[1] != pytest.approx(a[1], rel=1e-5)
    assert all(np.isfinite(b))


def test_early_stopping_and_tensorboard(shapes_config):
    cfg = guided_config(shapes_config)
    cfg.train_cfg.update(val_begin=1, val_interval=1)
    cfg.val_cfg = dict(type='OnePassTeacherStudentValLoop')
    cfg.default_hooks.early_stopping = dict(
        type='EarlyStoppingHook',
        monitor='student/coco/segm_mAP',
        rule='greater',
        patience=1,
        min_delta=1.0,
    )
    cfg.visualizer.vis_backends = [
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend'),
    ]
    cfg.default_hooks.checkpoint.save_best = 'student/coco/segm_mAP'
    runner = Runner.from_cfg(cfg)
    run_training(runner)
    assert runner.iter == 2  # of 4
    work_dir = Path(cfg.work_dir)
    note = json.loads((work_dir / 'stopped_early.json').read_text())
    assert note == dict(iteration=2)
    assert list(work_dir.rglob('events.out.tfevents*'))
    assert list(work_dir.glob('best_student_coco_segm_mAP_iter_*.pth'))
