# SPDX-License-Identifier: Apache-2.0
"""Parameters in half precision, all cast in one operation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the type that autocast computes in, None if it is off.

    Args:
        device (torch.device): Device.

    Example:
        >>> with torch.autocast('cpu', torch.bfloat16):
        ...     autocast_dtype(torch.device('cpu'))
        torch.bfloat16
    """
    if not torch.is_autocast_enabled(device.type):
        return None
    return torch.get_autocast_dtype(device.type)


class _Cast(Function):
    """Casts tensors together, where autocast casts one after the other."""

    @staticmethod
    def forward(ctx, dtype: torch.dtype, *tensors: Tensor):
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        cast = [torch.empty_like(t, dtype=dtype) for t in tensors]
        torch._foreach_copy_(cast, list(tensors))
        return tuple(cast)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        cast = [
            torch.empty_like(grad, dtype=dtype)
            for grad, dtype in zip(grads, ctx.dtypes, strict=True)
        ]
        torch._foreach_copy_(cast, list(grads))
        return None, *cast


class CastParameters:
    """Context in which modules have their own parameters in another type.

    Autocast casts the weights of a layer at each call, and the gradients in
    the backward pass, one operator for each. The copies here are made by one
    operator when the object is made, and hold for each ``with`` block, also
    for one in a recomputation of the backward pass. Gradients arrive at the
    parameters themselves.

    Args:
        modules (Iterable[nn.Module]): Modules, each without its children.
        dtype (torch.dtype): Type of the copies. A parameter that has it is
            not copied.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> with CastParameters([layer], torch.bfloat16):
        ...     layer(torch.ones(1, 2).bfloat16()).sum().backward()
        >>> layer.weight.dtype, layer.weight.grad.dtype
        (torch.float32, torch.float32)
    """

    def __init__(
        self, modules: Iterable[nn.Module], dtype: torch.dtype
    ) -> None:
        self._slots: list[tuple[nn.Module, str]] = []
        places: list[int] = []
        index: dict[Tensor, int] = {}
        for part in modules:
            for name, parameter in part._parameters.items():
                if parameter is None or parameter.dtype == dtype:
                    continue
                self._slots.append((part, name))
                # Modules may share a parameter.
                places.append(index.setdefault(parameter, len(index)))
        cast = _Cast.apply(dtype, *index) if index else ()
        self._cast = [cast[place] for place in places]
        self._before: list[list[Tensor | None]] = []

    def __enter__(self) -> CastParameters:
        """Let the modules have the copies; blocks may be nested."""
        self._before.append(
            [part._parameters[name] for part, name in self._slots]
        )
        for (part, name), cast in zip(self._slots, self._cast, strict=True):
            _put(part, name, cast)
        return self

    def __exit__(self, *args) -> None:
        """Give the modules what they had before the block."""
        for (part, name), before in zip(
            self._slots, self._before.pop(), strict=True
        ):
            _put(part, name, before)


def _put(module: Any, name: str, value: Tensor | None) -> None:
    # A copy is no nn.Parameter, which nn.Module would demand.
    module._parameters[name] = value
