# SPDX-License-Identifier: Apache-2.0
"""The random numbers of the device, apart from those of the host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

#: State of the device's generator, of the host's kind.
_rng: dict[str, torch.Tensor] = {}


def manual_seed(seed: int, *args) -> None:
    """Seed the random numbers of the device."""
    _rng['state'] = torch.Generator().manual_seed(int(seed)).get_state()


def get_rng_state(device: Any = 'cuda') -> torch.Tensor:
    """Return the state of the device's random numbers, on the host."""
    return _rng['state'].clone()


def set_rng_state(new_state: torch.Tensor, device: Any = 'cuda') -> None:
    """Restore the state of the device's random numbers.

    Raises:
        TypeError: if it is not a byte tensor on the host.
    """
    if new_state.device.type != 'cpu' or new_state.dtype != torch.uint8:
        raise TypeError('RNG state must be a torch.ByteTensor')
    _rng['state'] = new_state.clone()


@contextlib.contextmanager
def device_random_numbers() -> Iterator[None]:
    """Draw from the device's generator while an operator runs."""
    generator = torch.default_generator
    before = generator.get_state()
    generator.set_state(_rng['state'])
    try:
        yield
    finally:
        _rng['state'] = generator.get_state()
        generator.set_state(before)
