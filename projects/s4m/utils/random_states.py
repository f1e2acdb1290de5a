# SPDX-License-Identifier: Apache-2.0
"""Seeds and states of the random number generators of a process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_host(seed: tuple[int, ...]) -> None:
    """Seed python, numpy and torch on the host; devices are left alone.

    Args:
        seed (tuple[int]): Any two tuples give unrelated random numbers.
    """
    words = np.random.SeedSequence(seed).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    # torch.manual_seed would seed every device as well.
    torch.default_generator.manual_seed(int(words[2]))


def seed_generators(seed: tuple[int, ...]) -> None:
    """Seed python, numpy, torch and all devices.

    Args:
        seed (tuple[int]): Any two tuples give unrelated random numbers.
    """
    seed_host(seed)
    # Devices get the seed that torch has on the host.
    torch.manual_seed(torch.initial_seed())


@contextmanager
def seeded(seed: tuple[int, ...]) -> Iterator[None]:
    """Seed python, numpy and torch on the host, and undo it on leaving.

    The model's random numbers do not depend on what the data draws, and the
    data's not on the number of workers. The generators of devices are left
    alone: the data does not draw from them, and the model does.

    Args:
        seed (tuple[int]): Any two tuples give unrelated random numbers.
    """
    generator = torch.default_generator
    states = random.getstate(), np.random.get_state(), generator.get_state()
    seed_host(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        generator.set_state(states[2])


def get_random_state() -> dict:
    """States of python, numpy, torch and the process's current GPU.

    Returns:
        dict: ``python``, ``numpy``, ``torch`` and, on a machine with a GPU,
        ``cuda``; plain containers and tensors only, so that a checkpoint
        with it loads with ``weights_only=True``.
    """
    legacy = np.random.get_state(legacy=True)
    assert isinstance(legacy, tuple)  # MT19937, numpy's global generator
    name, keys, pos, has_gauss, cached = legacy
    state = dict(
        python=random.getstate(),
        numpy=(name, keys.tolist(), pos, has_gauss, cached),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Restore what :func:`get_random_state` returned.

    Args:
        state (dict): Such a state, whose tensors may be on any device.
    """
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state['numpy']
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


@contextmanager
def keep_random_state() -> Iterator[None]:
    """Leave python's, numpy's, torch's and the GPU's state as it was.

    What runs in the block may draw random numbers; what comes after it does
    not notice.
    """
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)
