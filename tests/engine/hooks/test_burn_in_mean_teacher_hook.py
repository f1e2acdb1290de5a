# SPDX-License-Identifier: Apache-2.0
"""The teacher: its average, burn-in and checkpoint, without a training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from s4m.engine import BurnInMeanTeacherHook
from s4m.engine.hooks.burn_in_mean_teacher_hook import _paired_tensors
from torch import nn


def test_update__float64_and_by_name():
    """Names pair the tensors, whatever the order of the modules."""
    teacher = nn.ModuleDict(dict(a=nn.Linear(3, 2), b=nn.BatchNorm1d(4)))
    student = nn.ModuleDict(dict(b=nn.BatchNorm1d(4), a=nn.Linear(3, 2)))
    student['b'].running_mean.uniform_()
    student['b'].num_batches_tracked += 7
    before = {k: v.clone().double() for k, v in teacher.state_dict().items()}
    hook = BurnInMeanTeacherHook(burn_in=0, momentum=0.0004)
    hook._tensors = _paired_tensors(teacher, student)
    for _ in range(3):
        hook.update(hook.momentum)
    for key, value in teacher.state_dict().items():
        if not value.is_floating_point():
            assert value == 7
            continue
        want = before[key]
        for _ in range(3):
            want = 0.9996 * want + 0.0004 * student.state_dict()[key].double()
        torch.testing.assert_close(value.double(), want, atol=1e-7, rtol=1e-6)
    assert not any(p.grad_fn for p in teacher.parameters())


def test_pairs__other_names():
    with pytest.raises(ValueError, match='differ'):
        _paired_tensors(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(burn_in=-1), 'burn_in'),
        (dict(burn_in=1, momentum=0), 'momentum'),
        (dict(burn_in=1, strategy='soft'), 'strategy'),
        (dict(burn_in=1, ema_start=-1), 'ema_start'),
        (dict(burn_in=1, strategy='fixed', ema_start=2), 'ema_start=2'),
    ],
)
def test_mean_teacher__bad_value(options, message):
    with pytest.raises(ValueError, match=message):
        BurnInMeanTeacherHook(**options)


@pytest.mark.parametrize(
    ('ema_start', 'moves'),
    [
        (0, [0, 0, 1, 0.25, 0.25, 0.25, 0.25]),
        (1, [0, 0, 1, 0, 0.25, 0.25, 0.25]),
        (3, [0, 0, 1, 0, 0, 0, 0.25]),
    ],
)
def test_ema_start__the_copy_stays_for_so_long(monkeypatch, ema_start, moves):
    model = nn.Module()
    model.teacher_checkpoint = None
    model.semi_train_cfg = dict(unsup_weight=1.0)
    hook = BurnInMeanTeacherHook(2, momentum=0.25, ema_start=ema_start)
    hook._accumulation = 1
    got = [0.0] * 7
    runner = SimpleNamespace(model=model, iter=0)
    monkeypatch.setattr(
        hook, 'update', lambda share: got.__setitem__(runner.iter, share)
    )
    for runner.iter in range(7):
        hook.before_train_iter(runner, 0)
    assert got == moves


class TestTeacherCheckpoint:
    """Loaded where a training starts and the strategy uses it, once."""

    def _runner(self, **changes) -> SimpleNamespace:
        model = nn.Module()
        model.teacher, model.student = nn.Linear(3, 2), nn.Linear(3, 2)
        model.teacher_checkpoint = changes.pop('teacher_checkpoint', None)
        model.semi_train_cfg = dict(sup_weight=1.0, unsup_weight=0.5)
        model.unsup_weight = None
        options = dict(
            iter=0,
            _load_from=None,
            _resume=False,
            optim_wrapper=SimpleNamespace(),
            hooks=[],
        )
        return SimpleNamespace(model=model, **(options | changes))

    @pytest.fixture
    def file(self, tmp_path) -> str:
        path = tmp_path / 'teacher.pth'
        state = {'weight': torch.full((2, 3), 7.0), 'bias': torch.zeros(2)}
        torch.save({'state_dict': state}, path)
        return str(path)

    @pytest.mark.parametrize(
        ('options', 'iteration', 'loaded'),
        [
            (dict(burn_in=5), 0, True),
            (dict(burn_in=5, strategy='fixed'), 0, True),
            (dict(burn_in=0), 0, False),
            (dict(burn_in=5, strategy='standard'), 0, False),
            (dict(burn_in=5), 3, False),  # resumed
        ],
    )
    def test_before_train(self, file, options, iteration, loaded):
        runner = self._runner(teacher_checkpoint=file, iter=iteration)
        BurnInMeanTeacherHook(**options).before_train(runner)
        assert bool((runner.model.teacher.weight == 7).all()) == loaded
        # Nobody else's argument is changed.
        assert runner.model.teacher_checkpoint == file

    def test_before_train__errors(self, tmp_path):
        hook = BurnInMeanTeacherHook(burn_in=5)
        with pytest.raises(ValueError, match=r'model\.teacher_checkpoint'):
            hook.before_train(self._runner())
        runner = self._runner(teacher_checkpoint=str(tmp_path / 'none'))
        with pytest.raises(FileNotFoundError, match='Train the teacher'):
            hook.before_train(runner)
        torch.save({'weight': torch.zeros(4, 3)}, tmp_path / 'x.pth')
        runner = self._runner(teacher_checkpoint=str(tmp_path / 'x.pth'))
        with pytest.raises(ValueError, match='does not fit'):
            hook.before_train(runner)
        hook.before_train(self._runner(_load_from='both.pth'))

    @pytest.mark.parametrize(
        ('strategy', 'weights'),
        [
            ('guided', [0.5, 0.5, 0.5]),
            ('fixed', [0.5, 0.5, 0.5]),
            ('standard', [0.0, 0.0, 0.5]),
        ],
    )
    def test_unsup_weight__of_each_iteration(self, file, strategy, weights):
        hook = BurnInMeanTeacherHook(burn_in=2, strategy=strategy)
        runner = self._runner(teacher_checkpoint=file)
        hook.before_train(runner)
        seen = []
        for runner.iter in range(3):
            hook.before_train_iter(runner, 0)
            seen.append(runner.model.unsup_weight)
        assert seen == weights

    def test_before_train__a_second_hook_is_refused(self):
        hooks = [BurnInMeanTeacherHook(burn_in=0) for _ in range(2)]
        runner = self._runner(hooks=hooks)
        message = r'default_hooks\.mean_teacher.*custom_hooks'
        with pytest.raises(ValueError, match=message):
            hooks[0].before_train(runner)
        hooks[0].before_train(self._runner(hooks=hooks[:1]))

    def test_model__without_a_teacher_is_refused_where_it_trains(self):
        hook = BurnInMeanTeacherHook(burn_in=5)
        runner = self._runner(_train_loop={})
        runner.model = nn.Linear(3, 2)
        with pytest.raises(ValueError, match='Linear has no teacher'):
            hook.before_train(runner)
        # A test of one network loads its weights and trains nothing.
        hook.after_load_checkpoint(runner, {})
