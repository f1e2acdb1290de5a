# SPDX-License-Identifier: Apache-2.0
"""Small semi-supervised trainings, and what they went through."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner


class Spy(Hook):
    """Copies of teacher and student at the start of each iteration."""

    def __init__(self) -> None:
        self.teacher, self.student, self.outputs = [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        # What the iteration used as teacher, and the student after its step.
        self.teacher.append(copy.deepcopy(runner.model.teacher.state_dict()))
        self.student.append(copy.deepcopy(runner.model.student.state_dict()))
        self.outputs.append(outputs)
        modules = list(runner.model.teacher.modules())
        assert not any(m.training for m in modules)
        assert any(m.training for m in runner.model.student.modules())


def semi_config(
    make: Callable[..., Config],
    name: str = 'guided_distillation_shapes_5p',
    **kwargs,
) -> Config:
    """A small semi-supervised config without teacher file, burn-in 2."""
    cfg = make(name, **kwargs)
    cfg.model.teacher_checkpoint = None
    cfg.default_hooks.mean_teacher.update(burn_in=2, momentum=0.25)
    # A random teacher is never sure; keep some of its queries.
    cfg.model.pseudo_labeler.update(cls_thr=0.12)
    return cfg


def run(cfg: Config, *hooks: Hook) -> Runner:
    """Train with hooks that come last, or at the priority of their class."""
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        own = type(hook).__dict__.get('priority')
        runner.register_hook(hook, priority=own or 'LOWEST')
    runner.train()
    return runner


def equal(a: dict, b: dict) -> bool:
    """Whether two states have the same names and the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
