# SPDX-License-Identifier: Apache-2.0
"""Set, save and restore the random number generators of a process."""

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
    """Seed python, numpy and torch on the host while the block runs.

    Afterwards the previous states are restored, so that the model's random
    numbers do not depend on the data's, nor the data's on the number of
    workers. The generators of devices stay, since only the model uses them.

    Args:
        seed (tuple[int]): Any two tuples give unrelated random numbers.

    Example:
        >>> with seeded((0, 1)):
        ...     first = torch.rand(1)
        >>> with seeded((0, 1)):
        ...     second = torch.rand(1)
        >>> bool(first == second)
        True
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
    """Return the states of python, numpy, torch and the current GPU.

    Returns:
        dict: ``python``, ``numpy``, ``torch`` and, on a machine with a GPU,
        ``cuda``. It has plain containers and tensors only, so that a
        checkpoint with these states loads with ``weights_only=True``.
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
    """Restore the states that :func:`get_random_state` returned.

    Args:
        state (dict): The states; their tensors may be on any device.
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
    """Restore python's, numpy's, torch's and the GPU's state after the block.

    Random numbers that the block draws do not change later ones.
    """
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)
