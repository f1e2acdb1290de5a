# SPDX-License-Identifier: Apache-2.0
"""Runs one operator of the device on the host."""

from __future__ import annotations

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from . import state
from .host_kernels import compute
from .random_numbers import device_random_numbers
from .rules import check, info_of, note_syncs
from .sizes import compute_sizes
from .tensors import CPU, DeviceTensor, aten


def run(func, args: tuple, kwargs: dict):
    """One operator: check, write down, compute on the host, wrap."""
    flat, spec = tree_flatten((args, kwargs))
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
    check(func, args, flat, on_device, on_host)
    if state.active is not None:
        note_syncs(func, args, kwargs, on_device)
        if not info_of(func).free:
            state.active.launches[state.active.current] += 1
            state.active.operators[state.active.current, str(func)] += 1
    wrappers = {id(v.host): v for v in on_device}
    inner = [v.host if isinstance(v, DeviceTensor) else v for v in flat]
    inner_args, inner_kwargs = tree_unflatten(inner, spec)
    if asked is not None:
        inner_kwargs['device'] = CPU
    if inner_kwargs.get('pin_memory'):
        inner_kwargs['pin_memory'] = False
    inner_kwargs.pop('non_blocking', None) if asked is not None else None
    limit = None if state.active is None else state.active.values_up_to
    if limit is None:
        with device_random_numbers(func):
            result = compute(func, inner_args, inner_kwargs)
    else:
        to_host = asked is not None and asked.type != 'cuda'
        result = compute_sizes(func, inner_args, inner_kwargs, limit, to_host)
    if torch.Tag.inplace_view in func.tags and on_device:
        with torch._C._DisableTorchDispatch():
            func(*args, **kwargs)  # the wrapper's own shape
    to_host = asked is not None and asked.type != 'cuda'
    if func._overloadpacket is aten.copy_ or info_of(func).inplace:
        to_host = to_host or not isinstance(args[0], DeviceTensor | list)
    values, result_spec = tree_flatten(result)
    for k, value in enumerate(values):
        if not isinstance(value, torch.Tensor):
            continue
        known = wrappers.get(id(value))
        if known is not None:
            values[k] = known
        elif not to_host:
            values[k] = DeviceTensor(value)
    return tree_unflatten(values, result_spec)
