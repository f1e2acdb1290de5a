# SPDX-License-Identifier: Apache-2.0
"""Whole trainings on small data: burn-in, averaging, first weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import ROOT
from semi_trainings import Spy, equal, run, semi_config


def test_guided__frozen_then_copied_then_averaged(shapes_config, teacher_file):
    cfg = semi_config(shapes_config, iters=5)
    cfg.model.teacher_checkpoint = teacher_file
    spy = Spy()
    run(cfg, spy)
    loaded = torch.load(teacher_file)['state_dict']
    # Iterations 0 and 1: bit for bit what was loaded, buffers too.
    assert equal(spy.teacher[0], loaded)
    assert equal(spy.teacher[1], loaded)
    # Iteration 2: the student after two steps.
    assert equal(spy.teacher[2], spy.student[1])
    # Then the average of the teacher and the student before this step.
    for i in (3, 4):
        moved = 0
        for key, value in spy.teacher[i].items():
            old, new = spy.teacher[i - 1][key], spy.student[i - 1][key]
            if value.is_floating_point():
                want = 0.75 * old.double() + 0.25 * new.double()
                torch.testing.assert_close(
                    value.double(), want, atol=1e-6, rtol=1e-5
                )
                moved += not torch.equal(old, value)
            else:
                assert torch.equal(value, new)
        assert moved > 50
    # BatchNorm statistics move with it.
    key = 'backbone.bn1.running_mean'
    assert not torch.equal(spy.teacher[3][key], spy.teacher[2][key])
    # The student never starts from the teacher.
    key = 'panoptic_head.cls_embed.weight'
    assert not torch.equal(spy.student[0][key], loaded[key])


def test_standard__no_unlabelled_images_during_burn_in(shapes_config):
    cfg = semi_config(shapes_config, iters=4)
    cfg.default_hooks.mean_teacher.strategy = 'standard'
    spy = Spy()
    run(cfg, spy)
    unsup = [any('unsup' in k for k in out) for out in spy.outputs]
    assert unsup == [False, False, True, True]
    assert equal(spy.teacher[2], spy.student[1])


def test_fixed__teacher_never_changes(shapes_config, teacher_file):
    cfg = semi_config(shapes_config, iters=4)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.default_hooks.mean_teacher.strategy = 'fixed'
    spy = Spy()
    run(cfg, spy)
    loaded = torch.load(teacher_file)['state_dict']
    assert all(equal(t, loaded) for t in spy.teacher)


def test_no_burn_in__needs_no_teacher(shapes_config):
    cfg = semi_config(shapes_config, iters=2)
    cfg.default_hooks.mean_teacher.burn_in = 0
    cfg.model.teacher_checkpoint = 'work_dirs/never_read'
    spy = Spy()
    run(cfg, spy)
    assert not equal(spy.teacher[0], spy.student[0])


def test_accumulation__averages_after_optimizer_steps(shapes_config):
    cfg = semi_config(shapes_config, iters=6)
    cfg.default_hooks.mean_teacher.update(burn_in=0)
    cfg.optim_wrapper.accumulative_counts = 2
    spy = Spy()
    run(cfg, spy)
    key = 'panoptic_head.cls_embed.weight'
    changed = [
        not torch.equal(spy.teacher[i][key], spy.teacher[i - 1][key])
        for i in range(1, 6)
    ]
    assert changed == [False, True, False, True, False]


def _plain_file(make, path: Path, seed: int) -> str:
    """A random detector's checkpoint."""
    from mmdet.registry import MODELS

    torch.manual_seed(seed)
    model = MODELS.build(make('supervised_shapes_5p').model)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return str(path)


def test_load_from__is_the_student_beside_a_teacher_checkpoint(
    shapes_config, teacher_file, tmp_path
):
    """A checkpoint of one network fills both; the teacher keeps its own."""
    cfg = semi_config(shapes_config, iters=2)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.load_from = _plain_file(shapes_config, tmp_path / 'plain.pth', 8)
    cfg.optim_wrapper.optimizer.lr = 0.0
    spy = Spy()
    run(cfg, spy)
    teacher, plain = (
        torch.load(f)['state_dict'] for f in (teacher_file, cfg.load_from)
    )
    assert equal(spy.teacher[0], teacher)
    for name in dict(plain):
        if 'running' not in name and 'batches' not in name:
            assert torch.equal(spy.student[0][name], plain[name]), name

    # A run that resumes reads neither.
    cfg = semi_config(shapes_config, iters=3)
    cfg.model.teacher_checkpoint = 'gone.pth'
    cfg.resume = True
    again = Spy()
    run(cfg, again)
    assert equal(again.teacher[0], spy.student[1])  # end of burn-in


def test_load_from__is_both_without_a_teacher_checkpoint(
    shapes_config, tmp_path
):
    cfg = semi_config(shapes_config, iters=1)
    cfg.load_from = _plain_file(shapes_config, tmp_path / 'plain.pth', 8)
    spy = Spy()
    run(cfg, spy)
    assert equal(spy.teacher[0], torch.load(cfg.load_from)['state_dict'])
    # A part of a teacher would label with random weights.
    state = torch.load(cfg.load_from)
    del state['state_dict']['panoptic_head.cls_embed.bias']
    torch.save(state, cfg.load_from)
    with pytest.raises(ValueError, match=r'plain\.pth does not fit'):
        run(cfg)


def test_missing_hook__first_step_names_it(shapes_config, teacher_file):
    cfg = semi_config(shapes_config, iters=1)
    del cfg.default_hooks.mean_teacher
    with pytest.raises(ValueError, match='BurnInMeanTeacherHook'):
        run(cfg)


def test_missing_teacher__names_the_command(shapes_config, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = semi_config(shapes_config, iters=1)
    cfg.model.teacher_checkpoint = 'work_dirs/s4m_teacher_shapes_5p_none'
    with pytest.raises(FileNotFoundError, match='Train the teacher first'):
        run(cfg)
    cfg.model.teacher_checkpoint = None
    with pytest.raises(ValueError, match='teacher_checkpoint'):
        run(cfg)
