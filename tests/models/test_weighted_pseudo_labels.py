# SPDX-License-Identifier: Apache-2.0
"""A method with a weight for each pseudo-label: 25 lines and a config."""

from __future__ import annotations

import torch
from conftest import ROOT
from examples.weighted_pseudo_labels import ScoreWeightedLabeler
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

CONFIG = ROOT / 'tests/examples/weighted_pseudo_labels_shapes_5p.py'


class _Spy(Hook):
    """Labels what the student learns from, and its losses."""

    def before_train(self, runner):
        model = runner.model
        self.targets, self.outputs = [], []
        loss = model.loss_by_pseudo_instances
        model.loss_by_pseudo_instances = lambda images, samples: (
            self.targets.extend(s.gt_instances for s in samples)
            or loss(images, samples)
        )

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        self.outputs.append(outputs)


def test_training__targets_have_the_weights(shapes_config):
    cfg = shapes_config('guided_distillation_shapes_5p', iters=1)
    cfg.model = Config.fromfile(CONFIG).model
    cfg.model.teacher_checkpoint = None
    # A random teacher is never sure; keep some of its queries.
    cfg.model.pseudo_labeler.cls_thr = 0.12
    cfg.default_hooks.mean_teacher.burn_in = 0
    runner = Runner.from_cfg(cfg)
    spy = _Spy()
    runner.register_hook(spy, priority='LOWEST')
    runner.train()
    model = runner.model
    assert isinstance(model.pseudo_labeler, ScoreWeightedLabeler)
    assert sum(len(item) for item in spy.targets) > 0
    for item in spy.targets:
        torch.testing.assert_close(item.weights, item.scores**2)
    (out,) = spy.outputs
    assert all(torch.isfinite(value).all() for value in out.values())


def test_example__is_short():
    code = CONFIG.with_name('weighted_pseudo_labels.py').read_text()
    assert len(code.splitlines()) <= 25
