# SPDX-License-Identifier: Apache-2.0
"""Operators on tensors that have a size but no values."""

from __future__ import annotations

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from .host_kernels import compute
from .rules import INDEXING, NEW, info_of, is_mask
from .tensors import aten


def compute_sizes(func, args, kwargs, limit: int, to_host: bool):
    """Values of small tensors only; large ones are on the device ``meta``.

    A small result of large tensors is random. So memory can be measured at
    sizes that neither fit this machine nor could be computed on it.
    """
    packet = func._overloadpacket
    flat, spec = tree_flatten((args, kwargs))
    tensors = [v for v in flat if isinstance(v, torch.Tensor)]
    virtual = any(t.is_meta for t in tensors)
    if not tensors:
        size = args[0] if args else None
        if isinstance(size, list | tuple) and torch.Size(size).numel() > limit:
            return func(*args, **{**kwargs, 'device': 'meta'})
    if not virtual:
        result = compute(func, args, kwargs)
        values, result_spec = tree_flatten(result)
        if info_of(func).inplace or info_of(func).view or to_host:
            return result
        values = [
            _as_meta(v)
            if isinstance(v, torch.Tensor) and v.numel() > limit
            else v
            for v in values
        ]
        return tree_unflatten(values, result_spec)
    if packet is aten._local_scalar_dense:
        return _plausible(args[0]).item()
    if packet in NEW and torch.Size(args[1]).numel() <= limit:
        return func(torch.empty(0, dtype=args[0].dtype), *args[1:], **kwargs)
    if packet is aten.nonzero:
        rows = args[0].numel() // 2
        return torch.zeros(rows, args[0].dim(), dtype=torch.long)
    if packet is aten.equal:
        return True
    if packet in INDEXING:
        args = (args[0], _as_indices(args[1]), *args[2:])
        flat, spec = tree_flatten((args, kwargs))
    if to_host:
        return _plausible(args[0]).to(kwargs.get('dtype') or args[0].dtype)
    if packet is aten.copy_ and not args[0].is_meta:
        return args[0]
    meta = [_as_meta(v) if isinstance(v, torch.Tensor) else v for v in flat]
    origin = {id(m): v for m, v in zip(meta, flat, strict=True)}
    meta_args, meta_kwargs = tree_unflatten(meta, spec)
    if 'device' in meta_kwargs:
        meta_kwargs['device'] = 'meta'
    values, result_spec = tree_flatten(func(*meta_args, **meta_kwargs))
    for k, value in enumerate(values):
        if not isinstance(value, torch.Tensor):
            continue
        if id(value) in origin:
            values[k] = origin[id(value)]
        elif value.numel() <= limit and not info_of(func).view:
            values[k] = _plausible(value)
    return tree_unflatten(values, result_spec)


def _as_meta(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_meta:
        return tensor
    return torch.empty_strided(
        tensor.shape, tensor.stride(), dtype=tensor.dtype, device='meta'
    )


def _as_indices(indices) -> list:
    """Masks as the indices that they stand for; half of a mask is set."""
    result = []
    for index in indices:
        if index is None or not is_mask(index):
            result.append(index)
        elif index.is_meta:
            half = torch.empty(
                index.numel() // 2, dtype=torch.long, device='meta'
            )
            result += [half] * index.dim()
        else:
            result += index.nonzero().unbind(1)
    return result


def _plausible(like: torch.Tensor) -> torch.Tensor:
    """Random values: 0..1, of counts 0..9999."""
    if like.dtype == torch.bool:
        return torch.rand(like.shape) < 0.5
    if like.dtype.is_floating_point:
        return torch.rand(like.shape).to(like.dtype)
    most = 255 if like.dtype == torch.uint8 else 10000
    return torch.randint(most, like.shape).to(like.dtype)
