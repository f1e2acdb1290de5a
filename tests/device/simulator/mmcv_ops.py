# SPDX-License-Identifier: Apache-2.0
"""mmcv's extension on the host, which refuses what its CUDA build refuses."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_unflatten

from . import state
from .state import demand, refuse
from .tensors import DeviceTensor

#: Modules of mmcv.ops whose extension is replaced.
_MODULES = (
    'deform_conv',
    'focal_loss',
    'modulated_deform_conv',
    'multi_scale_deform_attn',
    'nms',
    'roi_align',
    'roi_pool',
)


def _focal(logits, target, weight, gamma, alpha) -> Tensor:
    """Sigmoid focal loss of each element, as mmcv's kernel defines it."""
    num_classes = logits.shape[1]
    hot = F.one_hot(target, num_classes + 1)[:, :num_classes].to(logits)
    p = logits.sigmoid()
    at = (1 - p) * hot + p * (1 - hot)
    loss = F.binary_cross_entropy_with_logits(logits, hot, reduction='none')
    loss = loss * (alpha * hot + (1 - alpha) * (1 - hot)) * at.pow(gamma)
    if weight.numel():
        loss = loss * weight[target.clamp(max=num_classes - 1)][:, None]
    return loss


def _focal_forward(logits, target, weight, output, *, gamma, alpha) -> None:
    output.copy_(_focal(logits, target, weight, gamma, alpha))


def _focal_backward(logits, target, weight, grad, *, gamma, alpha) -> None:
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        loss = _focal(leaf, target, weight, gamma, alpha).sum()
        grad.copy_(torch.autograd.grad(loss, leaf)[0])


def _attend(value, shapes, locations, weights) -> Tensor:
    module = importlib.import_module('mmcv.ops.multi_scale_deform_attn')
    return module.multi_scale_deformable_attn_pytorch(
        value, shapes, locations, weights
    )


def _check_step(value: Tensor, im2col_step: int) -> None:
    if len(value) % min(len(value), im2col_step):
        refuse('ms_deform_attn: im2col_step does not divide the batch')


def _attention_forward(
    value, shapes, starts, locations, weights, *, im2col_step
) -> Tensor:
    _check_step(value, im2col_step)
    return _attend(value, shapes, locations, weights)


def _attention_backward(
    value, shapes, starts, locations, weights, grad, *results, im2col_step
) -> None:
    with torch.enable_grad():
        leaves = [
            t.detach().clone().requires_grad_()
            for t in (value, locations, weights)
        ]
        out = _attend(leaves[0], shapes, *leaves[1:])
        grads = torch.autograd.grad(out, leaves, grad)
    for result, g in zip(results, grads, strict=True):
        result.copy_(g)


#: Functions of the extension that its CPU build lacks.
_ON_HOST: dict[str, Callable] = dict(
    sigmoid_focal_loss_forward=_focal_forward,
    sigmoid_focal_loss_backward=_focal_backward,
    ms_deform_attn_forward=_attention_forward,
    ms_deform_attn_backward=_attention_backward,
)


def _check_types(name: str, tensors: list[DeviceTensor]) -> None:
    """Refuse types that the kernels of onedl-mmcv 2.3.6 do not have.

    They take fp16, but not bf16, and all floating tensors of one type; nms
    takes boxes in fp32 and any scores.
    """
    if name == 'nms':
        tensors = tensors[:1]
    types = {t.dtype for t in tensors if t.is_floating_point()}
    unknown = {torch.bfloat16} | ({torch.float16} if name == 'nms' else set())
    if len(types) > 1 or types & unknown:
        refuse(f'mmcv.{name} is not implemented for {types}')


def wide(values: list) -> list:
    """Half precision as fp32."""
    halves = (torch.float16, torch.bfloat16)
    return [
        v.float() if isinstance(v, Tensor) and v.dtype in halves else v
        for v in values
    ]


class Extension:
    """Calls on the tensors of the host; nms waits for its result."""

    def __init__(self, module) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Callable:
        function = getattr(self.module, name)

        def call(*args, **kwargs):
            flat, spec = tree_flatten((args, kwargs))
            wrapped = [v for v in flat if isinstance(v, DeviceTensor)]
            if not wrapped:
                return function(*args, **kwargs)
            tensors = sum(isinstance(v, Tensor) for v in flat)
            demand(tensors == len(wrapped), name, 'mmcv op on two devices')
            _check_types(name, wrapped)
            _count(f'mmcv.{name}', sync='nms' in name)
            flat = [v.host if isinstance(v, DeviceTensor) else v for v in flat]
            # The CUDA kernels know fp16, the others do not.
            wider = wide(flat)
            args, kwargs = tree_unflatten(wider, spec)
            result = _ON_HOST.get(name, function)(*args, **kwargs)
            for old, new in zip(flat, wider, strict=True):
                if old is not new:
                    old.copy_(new)  # some of them are the results
            values, out = tree_flatten(result)
            dtype = wrapped[0].dtype
            values = [_wrap(v, dtype) for v in values]
            return tree_unflatten(values, out)

        return call


def _wrap(value: Any, dtype: torch.dtype) -> Any:
    if not isinstance(value, Tensor):
        return value
    return DeviceTensor(
        value.to(dtype) if value.is_floating_point() else value
    )


def _count(name: str, sync: bool = False) -> None:
    """Count a launch of code that computes on the host itself."""
    sim = state.active
    if sim is not None:
        sim.launches[sim.current] += 1
        sim.operators[sim.current, name] += 1
        if sync:
            sim.record(name, name)


def mmcv_patches() -> Iterator[tuple[Any, str, Any]]:
    """Yield owner, name and value of what is replaced in mmcv."""
    for name in _MODULES:
        module = importlib.import_module(f'mmcv.ops.{name}')
        yield module, 'ext_module', Extension(module.ext_module)
    attention = importlib.import_module('mmcv.ops.multi_scale_deform_attn')
    # It asks once, when it is imported.
    yield attention, 'IS_CUDA_AVAILABLE', True
    # MMDet's focal loss takes the operator where its inputs are on a GPU.
