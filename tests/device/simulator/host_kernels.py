# SPDX-License-Identifier: Apache-2.0
"""What the host computes in place of the device."""

from __future__ import annotations

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from .rules import info_of
from .tensors import aten

_HALVES = (torch.float16, torch.bfloat16)
#: The host's half precision kernels of these need 10 times fp32's time. A GPU
#: sums them in fp32 too.
_IN_FP32 = {
    aten.addmm,
    aten.baddbmm,
    aten.bmm,
    aten.convolution,
    aten.convolution_backward,
    aten.mm,
}


def compute(func, args: tuple, kwargs: dict):
    """Compute on the host; what it has no half precision kernel for, in fp32.

    Args:
        func (OpOverload): Operator.
        args (tuple): Its arguments, with tensors of the host.
        kwargs (dict): Its keyword arguments.
    """
    packet = func._overloadpacket
    if packet in (aten._softmax, aten._log_softmax) and args[2]:
        return func(args[0].float(), args[1], False)  # half_to_float
    if packet in (
        aten._softmax_backward_data,
        aten._log_softmax_backward_data,
    ):
        return func(*args[:3], args[0].dtype).to(args[3])
    if packet in _IN_FP32:
        return _compute_wide(func, args, kwargs)
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:
        text = str(error)
        half = "'Half'" in text or "'BFloat16'" in text
        if not half and 'could not' not in text:  # oneDNN's complaints
            raise
    return _compute_wide(func, args, kwargs)


def _is_half(value) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in _HALVES


def _compute_wide(func, args: tuple, kwargs: dict):
    """Compute in fp32, and round results to the input's half precision."""
    flat, spec = tree_flatten((args, kwargs))
    dtypes = [v.dtype for v in flat if _is_half(v)]
    if not dtypes:
        return func(*args, **kwargs)
    wide = [v.float().contiguous() if _is_half(v) else v for v in flat]
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
        if isinstance(v, torch.Tensor) and v.dtype == torch.float32
        else v
        for v in values
    ]
    return tree_unflatten(values, result_spec)
