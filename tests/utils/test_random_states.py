# SPDX-License-Identifier: Apache-2.0
"""Random numbers of the host: seeded, kept, saved and restored."""

from __future__ import annotations

import random

import numpy as np
import torch
from s4m.utils.random_states import (
    get_random_state,
    keep_random_state,
    seeded,
    set_random_state,
)


def test_random_state__round_trip_without_pickled_code(tmp_path):
    torch.save(get_random_state(), tmp_path / 's.pt')
    want = random.random(), np.random.rand(), torch.rand(1)
    set_random_state(torch.load(tmp_path / 's.pt', weights_only=True))
    assert (random.random(), np.random.rand(), torch.rand(1)) == want


def test_seeded__leaves_the_devices_alone(monkeypatch):
    """The model draws from a device's generator, in the same process."""

    def seed_devices(seed):
        raise AssertionError('a device was seeded')

    for name in ('manual_seed', 'manual_seed_all'):
        monkeypatch.setattr(torch.cuda, name, seed_devices)
    draws = []
    before = torch.get_rng_state()
    for seed in ((0, 0, 5), (0, 0, 5), (0, 1, 5)):
        with seeded(seed):
            draws.append((torch.rand(1), np.random.rand(), random.random()))
        assert torch.equal(torch.get_rng_state(), before)
    assert draws[0] == draws[1]
    assert all(a != b for a, b in zip(draws[1], draws[2], strict=True))


def test_keep__what_follows_does_not_notice():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    state = get_random_state()
    want = draw()
    set_random_state(state)
    with keep_random_state():
        assert draw() == want
        draw()
    assert draw() == want
