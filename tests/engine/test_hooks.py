# SPDX-License-Identifier: Apache-2.0
"""Hooks and the optimiser's constructor, without a training."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.dataset import InfiniteSampler
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from s4m.datasets import SemiSampler
from s4m.engine import (
    BurnInMeanTeacherHook,
    ContrastiveDiagnosticsHook,
    PseudoLabelRefineHook,
    RandomStateHook,
)
from s4m.engine.hooks import random_state_hook
from s4m.engine.hooks.burn_in_mean_teacher_hook import _paired_tensors
from torch import nn
from torch.utils.data import DataLoader


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
    ],
)
def test_mean_teacher__bad_value(options, message):
    with pytest.raises(ValueError, match=message):
        BurnInMeanTeacherHook(**options)


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


def test_refine_hook__watches_and_leaves():
    """Means over all pseudo-labels of the batch, from the refiner's output."""

    class Refiner(nn.Module):
        def forward(self, rgb, instances):
            return [
                InstanceData(refine_iou=iou, refined=refined)
                for iou, refined in instances
            ]

    model, logged = nn.Module(), {}
    model.refiner = Refiner()
    hub = SimpleNamespace(update_scalar=logged.__setitem__)
    runner = SimpleNamespace(model=model, iter=0, message_hub=hub)
    hook = PseudoLabelRefineHook()
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)
    assert not logged  # no unlabelled image in this iteration
    model.refiner(
        torch.zeros(2, 3, 4, 4),
        [
            (torch.tensor([1.0, 0.5]), torch.tensor([True, False])),
            (torch.tensor([0.0]), torch.tensor([False])),
        ],
    )
    hook.after_train_iter(runner, 0)
    assert logged['train/refine_iou'] == pytest.approx(0.5)
    assert logged['train/refine_kept'] == pytest.approx(1 / 3)
    hook.after_train(runner)
    assert not model.refiner._forward_hooks
    model.refiner = None
    logged.clear()
    hook.before_train(runner)  # an ablation without a refiner keeps the hook
    hook.after_train_iter(runner, 0)
    hook.after_train(runner)
    assert not logged


def test_refine_hook__bad_value():
    with pytest.raises(ValueError, match='draw_interval'):
        PseudoLabelRefineHook(draw_interval=-1)


def _draws_of(rank: int, seed: int, monkeypatch) -> tuple:
    """First numbers of a process, and the seed of its devices."""
    devices = []
    monkeypatch.setattr(random_state_hook, 'get_rank', lambda: rank)
    monkeypatch.setattr(torch.cuda, 'manual_seed_all', devices.append)
    # MMEngine seeds all processes alike.
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    devices.clear()
    hook, runner = RandomStateHook(), SimpleNamespace(seed=seed, iter=0)
    hook.before_run(runner)
    hook.before_train(runner)
    (device,) = devices
    return random.random(), np.random.rand(), float(torch.rand(1)), device


def test_random_state__each_process_draws_its_own(monkeypatch):
    draws = [_draws_of(*key, monkeypatch) for key in ((0, 5), (1, 5), (1, 4))]
    for one, other in itertools.combinations(draws, 2):
        assert all(a != b for a, b in zip(one, other, strict=True))
    assert _draws_of(1, 5, monkeypatch) == draws[1]


class _Pictures:
    """40 images, each second one upright."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> int:
        return int(i)

    def get_data_info(self, i: int) -> dict:
        return dict(width=2, height=1 + 2 * (i % 2))


def _loader(kind: str, seed: int) -> DataLoader:
    pictures = _Pictures()
    if kind == 'semi':
        pictures.datasets = [range(10), range(30)]
        sampler = SemiSampler(pictures, 2, 2, repeat_thr=0, seed=seed)
        return DataLoader(pictures, 4, sampler=sampler)
    sampler = InfiniteSampler(pictures, seed=seed)
    if kind == 'infinite':
        return DataLoader(pictures, 4, sampler=sampler)
    batches = AspectRatioBatchSampler(sampler, batch_size=4)
    return DataLoader(pictures, batch_sampler=batches)


def _images(loader: DataLoader) -> list[list[int]]:
    return [batch.tolist() for batch in itertools.islice(loader, 6)]


@pytest.mark.parametrize('kind', ['semi', 'infinite', 'aspect_ratio'])
def test_random_state__samplers_of_a_resumed_run(kind):
    """The checkpoint's seed comes after the loader was built."""
    loader = _loader(kind, seed=1)
    hook = RandomStateHook()
    runner = SimpleNamespace(seed=1, iter=0, train_dataloader=loader)
    hook.before_run(runner)
    runner.seed = 2  # Runner.resume
    hook.before_train(runner)
    assert _images(loader) == _images(_loader(kind, seed=2))
    assert _images(_loader(kind, 1)) != _images(_loader(kind, 2))


def test_random_state__sampler_with_a_seed_of_its_own():
    loader = _loader('infinite', seed=7)
    hook = RandomStateHook()
    runner = SimpleNamespace(seed=1, iter=0, train_dataloader=loader)
    hook.before_run(runner)
    runner.seed = 2
    hook.before_train(runner)
    assert _images(loader) == _images(_loader('infinite', seed=7))


def test_random_state__checkpoint_of_a_validation(monkeypatch):
    """What training goes on with, on one process and on two."""
    for size in (1, 2):
        monkeypatch.setattr(
            random_state_hook, 'get_world_size', lambda size=size: size
        )
        monkeypatch.setattr(
            random_state_hook,
            'all_gather_object',
            lambda own, size=size: [own] * size,
        )
        hook, runner = RandomStateHook(), SimpleNamespace(hooks=[])
        want = torch.get_rng_state()
        hook.before_val(runner)
        torch.rand(3)
        checkpoint = {}
        hook.before_save_checkpoint(runner, checkpoint)
        hook.after_val(runner)
        states = checkpoint['random_states']
        assert len(states) == size
        assert all(torch.equal(s['torch'], want) for s in states)
        assert torch.equal(torch.get_rng_state(), want)


def test_constructor__norms_groups_and_teacher():
    model = nn.Module()
    for name in ('student', 'teacher'):
        net = nn.Module()
        net.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        net.head = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        net.query_embed = nn.Embedding(2, 4)
        model.add_module(name, net)
    model.teacher.requires_grad_(False)
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='SegmentorOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.5),
            paramwise_cfg=dict(
                norm_decay_mult=0.0,
                custom_keys={
                    'backbone': dict(lr_mult=0.1),
                    'query_embed': dict(decay_mult=0.0),
                },
            ),
        ),
    )
    groups = {
        (g['lr'], g['weight_decay']): g['params']
        for g in wrapper.optimizer.param_groups
    }
    s = model.student
    want = {
        (0.1, 0.5): list(s.backbone[0].parameters()),
        (0.1, 0.0): list(s.backbone[1].parameters()),
        (1.0, 0.5): list(s.head[0].parameters()),
        (1.0, 0.0): [*s.head[1].parameters(), s.query_embed.weight],
    }
    assert groups.keys() == want.keys()
    for key, params in want.items():
        assert {id(p) for p in groups[key]} == {id(p) for p in params}


def test_diagnostics__only_on_its_turn():
    """Statistics are asked for before the iteration, logged after it."""
    from types import SimpleNamespace

    loss = SimpleNamespace(keep_statistics=False, statistics={})
    model = nn.Module()
    model.loss_contrast = loss
    logged = {}
    runner = SimpleNamespace(
        model=model,
        iter=0,
        message_hub=SimpleNamespace(update_scalar=logged.__setitem__),
    )
    hook = ContrastiveDiagnosticsHook(interval=2)
    hook.before_train(runner)
    asked = []
    for runner.iter in range(4):
        hook.before_train_iter(runner, 0)
        asked.append(loss.keep_statistics)
        if loss.keep_statistics:
            loss.statistics = dict(margin=torch.tensor(0.25))
        hook.after_train_iter(runner, 0)
        assert not loss.keep_statistics and not loss.statistics
    assert asked == [False, True, False, True]
    assert logged == {'train/contrast/margin': 0.25}
    model.loss_contrast = None
    logged.clear()
    hook.before_train(runner)  # an ablation without L_pxl keeps the hook
    hook.before_train_iter(runner, 0)
    hook.after_train_iter(runner, 0)
    assert not logged
    with pytest.raises(ValueError, match='interval'):
        ContrastiveDiagnosticsHook(interval=0)
