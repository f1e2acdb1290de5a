# SPDX-License-Identifier: Apache-2.0
"""Runs one operator of the device on the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from . import state
from .host_kernels import compute
from .random_numbers import device_random_numbers
from .rules import check, info_of, note_syncs
from .sizes import compute_sizes
from .tensors import CPU, DeviceTensor, aten


def run(func, args: tuple, kwargs: dict):
    """One operator: check, write down, compute on the host, wrap."""
    flat = list(_leaves(args, kwargs))
    on_device = [v for v in flat if isinstance(v, DeviceTensor)]
    asked = kwargs.get('device')
    asked = None if asked is None else torch.device(asked)
    if not on_device and (asked is None or asked.type != 'cuda'):
        if kwargs.get('pin_memory'):
            kwargs = {**kwargs, 'pin_memory': False}
        return func(*args, **kwargs)
    on_host = [
        v
        for v in flat
        if isinstance(v, torch.Tensor) and not isinstance(v, DeviceTensor)
    ]
    info = info_of(func)
    check(func, args, flat, on_device, on_host)
    if state.active is not None:
        note_syncs(func, args, kwargs, on_device)
        if not info.free:
            state.active.launches[state.active.current] += 1
            state.active.operators[state.active.current, str(func)] += 1
    inner_args = tuple(_on_host(v) for v in args)
    inner_kwargs = {k: _on_host(v) for k, v in kwargs.items()}
    if asked is not None:
        inner_kwargs['device'] = CPU
        inner_kwargs.pop('non_blocking', None)
    if inner_kwargs.get('pin_memory'):
        inner_kwargs['pin_memory'] = False
    to_host = asked is not None and asked.type != 'cuda'
    limit = None if state.active is None else state.active.values_up_to
    if limit is not None:
        result = compute_sizes(func, inner_args, inner_kwargs, limit, to_host)
    elif info.random:
        with device_random_numbers():
            result = compute(func, inner_args, inner_kwargs)
    else:
        result = compute(func, inner_args, inner_kwargs)
    if info.inplace_view and on_device:
        with torch._C._DisableTorchDispatch():
            func(*args, **kwargs)  # the wrapper's own shape
    if func._overloadpacket is aten.copy_ or info.inplace:
        to_host = to_host or not isinstance(args[0], DeviceTensor | list)
    return _wrap(result, {id(v.host): v for v in on_device}, to_host)


def _leaves(args: tuple, kwargs: dict) -> Iterator[Any]:
    """Yield the arguments of an operator, which may be lists."""
    for values in (args, kwargs.values()):
        for value in values:
            if isinstance(value, list | tuple):
                yield from value
            else:
                yield value


def _on_host(value: Any) -> Any:
    if isinstance(value, DeviceTensor):
        return value.host
    if isinstance(value, list | tuple):
        return [v.host if isinstance(v, DeviceTensor) else v for v in value]
    return value


def _wrap(result: Any, known: dict[int, DeviceTensor], to_host: bool) -> Any:
    """Return results as tensors of the device; of arguments their wrapper."""
    if isinstance(result, torch.Tensor):
        wrapper = known.get(id(result))
        if wrapper is not None:
            return wrapper
        return result if to_host else DeviceTensor(result)
    if isinstance(result, list | tuple):
        return type(result)([_wrap(v, known, to_host) for v in result])
    return result
