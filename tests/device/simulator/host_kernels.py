# SPDX-License-Identifier: Apache-2.0
"""What the host computes in place of the device."""

from __future__ import annotations

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from .rules import info_of
from .tensors import aten


def compute(func, args, kwargs):
    """On the CPU; what it has no half precision kernel for, in fp32."""
    packet = func._overloadpacket
    if packet in (aten._softmax, aten._log_softmax) and args[2]:
        return func(args[0].float(), args[1], False)  # half_to_float
    if packet in (aten._softmax_backward_data, aten._log_softmax_backward_data):
        return func(*args[:3], args[0].dtype).to(args[3])
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:
        text = str(error)
        half = "'Half'" in text or "'BFloat16'" in text
        if not half and 'could not' not in text:  # oneDNN's complaints
            raise
    flat, spec = tree_flatten((args, kwargs))
    halves = (torch.float16, torch.bfloat16)
    dtypes = [
        v.dtype
        for v in flat
        if isinstance(v, torch.Tensor) and v.dtype in halves
    ]
    wide = [
        v.float().contiguous()
        if isinstance(v, torch.Tensor) and v.dtype in halves
        else v
        for v in flat
    ]
    wide_args, wide_kwargs = tree_unflatten(wide, spec)
    result = func(*wide_args, **wide_kwargs)
    for old, new in zip(flat, wide, strict=True):
        if info_of(func).inplace and old is not new:
            old.copy_(new)
            if result is new:
                return old
    values, result_spec = tree_flatten(result)
    values = [
        v.to(dtypes[0])
        if dtypes and isinstance(v, torch.Tensor) and v.dtype == torch.float32
        else v
        for v in values
    ]
    return tree_unflatten(values, result_spec)
