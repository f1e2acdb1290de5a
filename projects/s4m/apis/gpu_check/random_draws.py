# SPDX-License-Identifier: Apache-2.0
"""The same random numbers on every device."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

_MAKERS = ('rand', 'randn', 'randint', 'randperm')
_LIKE = dict(rand_like='rand', randn_like='randn')
_IN_PLACE = ('uniform_', 'normal_', 'bernoulli_', 'exponential_')


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _maker(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def draw(*args, device: Any = None, **kwargs) -> Tensor:
        out = function(*args, **kwargs)
        return out if device is None else out.to(device)

    return draw


def _like(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def draw(like: Tensor, dtype: Any = None, **_) -> Tensor:
        # In fp32, so that half precision has the same numbers, rounded.
        out = function(tuple(like.shape))
        return out.to(device=like.device, dtype=dtype or like.dtype)

    return draw


def _in_place(name: str) -> Callable[..., Tensor]:
    function = getattr(Tensor, name)

    def draw(self: Tensor, *args, **kwargs) -> Tensor:
        if self.device.type == 'cpu':
            return function(self, *args, **kwargs)
        args = tuple(a.cpu() if isinstance(a, Tensor) else a for a in args)
        host = torch.empty(tuple(self.shape), dtype=self.dtype)
        return self.copy_(function(host, *args, **kwargs))

    return draw


def _multinomial(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def draw(weights: Tensor, *args, **kwargs) -> Tensor:
        return function(weights.cpu(), *args, **kwargs).to(weights.device)

    return draw


@contextlib.contextmanager
def host_draws() -> Iterator[None]:
    """Draw PyTorch's random numbers on the host while the block runs."""
    with contextlib.ExitStack() as stack:

        def patch(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        for name, maker in _LIKE.items():
            patch(torch, name, _like(getattr(torch, maker)))
        for name in _MAKERS:
            patch(torch, name, _maker(getattr(torch, name)))
        for name in _IN_PLACE:
            patch(Tensor, name, _in_place(name))
        patch(torch, 'multinomial', _multinomial(torch.multinomial))
        yield
