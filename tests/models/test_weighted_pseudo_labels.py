# SPDX-License-Identifier: Apache-2.0
"""A method with a weight for each pseudo-label: 40 lines and a config."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT
from examples.weighted_pseudo_labels import (
    ScoreWeightedLabeler,
    WeightedMask2FormerHead,
)
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData

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
    assert isinstance(model.student.panoptic_head, WeightedMask2FormerHead)
    assert sum(len(item) for item in spy.targets) > 0
    for item in spy.targets:
        torch.testing.assert_close(item.weights, item.scores**2)
    (out,) = spy.outputs
    assert all(torch.isfinite(value).all() for value in out.values())


def test_loss__is_linear_in_the_weight():
    """Weight 1 is the plain head; in between the loss lies on a line."""
    cfg = Config.fromfile(CONFIG).model.detector
    torch.manual_seed(0)
    detector = MODELS.build(cfg).eval()
    cfg.panoptic_head.type = 'DistillMask2FormerHead'
    plain = MODELS.build(cfg).eval()
    plain.load_state_dict(detector.state_dict())
    images = torch.randn(1, 3, 64, 64)

    def losses(model, weight):
        masks = torch.zeros(1, 16, 16, dtype=torch.bool)
        masks[0, 2:9, 3:12] = True
        item = InstanceData(
            labels=torch.tensor([3]),
            masks=masks,
            weights=torch.tensor([weight]),
        )
        sample = DetDataSample(
            metainfo=dict(img_shape=(64, 64), batch_input_shape=(64, 64)),
            gt_instances=item,
        )
        torch.manual_seed(1)
        return {k: v.item() for k, v in model.loss(images, [sample]).items()}

    full, none, part = (losses(detector, w) for w in (1.0, 0.0, 0.25))
    for key, want in losses(plain, 0.25).items():
        assert full[key] == pytest.approx(want, rel=1e-6)
        line = none[key] + 0.25 * (full[key] - none[key])
        assert part[key] == pytest.approx(line, rel=1e-5)
    assert none['loss_cls'] < part['loss_cls'] < full['loss_cls']


def test_example__is_short():
    code = CONFIG.with_name('weighted_pseudo_labels.py').read_text()
    assert len(code.splitlines()) <= 40
