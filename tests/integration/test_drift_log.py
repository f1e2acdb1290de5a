# SPDX-License-Identifier: Apache-2.0
"""The log of pseudo-labels in a whole training."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.hooks import Hook
from s4m.visualization import curve, read_scalars
from semi_trainings import Spy, run, semi_config

KEY = 'student/cityscapes/mAP'


class Falling(Hook):
    """A validation whose AP is known, before other hooks log it."""

    priority = 'HIGHEST'

    def after_val_epoch(self, runner, metrics):
        metrics[KEY] = 0.5 - 0.02 * runner.iter


class Stopped(Exception):
    """The machine is lost."""


class Stop(Hook):
    """Stops the run after the checkpoint and the validation of iteration 3."""

    def before_train_iter(self, runner, batch_idx, data_batch):
        if runner.iter == 3:
            raise Stopped


def _config(make, teacher_file: str, name: str, iters: int = 5):
    """A validation after each iteration."""
    cfg = semi_config(make, name, iters=iters)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.train_cfg.update(val_interval=1, val_begin=1)
    cfg.default_hooks.checkpoint.update(interval=1, save_best=KEY)
    del cfg.val_evaluator[1]
    return cfg


def test_drift_log__only_watches(shapes_config, teacher_file):
    """A run without the log has the same losses, validations included."""
    outputs = []
    for watched in (True, False):
        cfg = _config(shapes_config, teacher_file, 's4m_shapes_5p', 8)
        cfg.train_cfg.val_interval = 3
        cfg.work_dir += str(watched)
        if not watched:
            del cfg.default_hooks.drift_log
        spy = Spy()
        runner = run(cfg, spy)
        outputs.append(spy.outputs)
        logged = 'val/pseudo_labels/matched' in runner.message_hub.log_scalars
        assert logged == watched
    assert len(outputs[0]) == 8
    for a, b in zip(*outputs, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_drift_log__warns_once_across_a_resumption(
    shapes_config, teacher_file, caplog
):
    """The fall begins before the run is lost and is noticed after it."""

    def config():
        name = 'guided_distillation_shapes_5p'
        return _config(shapes_config, teacher_file, name)

    with pytest.raises(Stopped):
        run(config(), Falling(), Stop())
    cfg = config()
    cfg.resume = True
    lines: list[str] = []

    class Lines(Hook):
        def before_train(self, runner):
            handler = logging.Handler(logging.WARNING)
            handler.emit = lambda record: lines.append(record.getMessage())
            runner.logger.addHandler(handler)

    runner = run(cfg, Falling(), Lines())
    (line,) = [line for line in lines if 'drifts' in line]
    assert '(48.0 -> 46.0 -> 44.0 -> 42.0)' in line
    assert 'best_student_cityscapes_mAP_iter_1.pth' in line
    entries = runner.message_hub.get_info('drift_history')
    assert [entry['iteration'] for entry in entries] == [1, 2, 3, 4, 5]
    assert all(entry['figures']['per_image'] > 0 for entry in entries)
    scalars = read_scalars(cfg.work_dir)
    # Where they were validated.
    assert [step for step, _ in curve(scalars, KEY)] == [1, 2, 3, 4, 5]
    assert len(curve(scalars, 'pseudo_labels/duplicates')) == 5
    assert len(curve(scalars, 'pseudo_labels/without_object')) == 5


def test_drift_log__unknown_key(shapes_config, teacher_file):
    name = 'guided_distillation_shapes_5p'
    cfg = _config(shapes_config, teacher_file, name, 1)
    cfg.default_hooks.drift_log.monitor = 'student/mAP'
    with pytest.raises(ValueError, match=f"no 'student/mAP'.*{KEY}"):
        run(cfg)
