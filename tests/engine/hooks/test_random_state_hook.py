# SPDX-License-Identifier: Apache-2.0
"""Random numbers of processes, samplers and resumed runs."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.dataset import InfiniteSampler
from s4m.datasets import SemiSampler
from s4m.engine import RandomStateHook
from s4m.engine.hooks import random_state_hook
from torch.utils.data import DataLoader


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
