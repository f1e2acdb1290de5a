# SPDX-License-Identifier: Apache-2.0
"""Trainings of a few iterations that stop and go on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import Runner


def train(cfg: Config, iters: int, resume: bool = False) -> Runner:
    """Train up to an iteration, whose checkpoint is saved."""
    cfg = cfg.copy()
    cfg.train_cfg.max_iters = iters
    cfg.default_hooks.checkpoint.update(interval=iters, save_best=None)
    cfg.resume = resume
    # The runs of one second have one name, and would share their log.
    MessageHub._instance_dict.clear()
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def train_and_resume(cfg: Config) -> Runner:
    """Train two iterations, and a third from their checkpoint."""
    train(cfg, 2)
    runner = train(cfg, 3, resume=True)
    assert runner.iter == 3
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    return runner


def guided_config(shapes_config: Callable[..., Config]) -> Config:
    """Guided Distillation on Shapes, averaging from iteration 0 on."""
    cfg = shapes_config('guided_distillation_shapes_5p')
    cfg.model.teacher_checkpoint = None
    cfg.model.pseudo_labeler.cls_thr = 0.0
    cfg.default_hooks.mean_teacher.burn_in = 0
    cfg.train_dataloader.update(batch_size=4)
    cfg.train_dataloader.sampler.update(num_labeled=2, num_unlabeled=2)
    cfg.train_cfg.val_begin = 1000
    return cfg
