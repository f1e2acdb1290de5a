# SPDX-License-Identifier: Apache-2.0
"""mmcv's CUDA operators against PyTorch's, and against the host's."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import torch
from mmcv.ops import batched_nms, nms, roi_align, sigmoid_focal_loss
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from torch import Tensor
from torch.nn import functional as F

from .measuring import milliseconds
from .report import Report

#: Input types; the half ones run through ``s4m.utils.mixed_precision``.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
Result = dict[str, Tensor]


def relative(found: Tensor, wanted: Tensor) -> float:
    """Return the norm of the difference, relative to that of the values.

    The gradient of a sampled place jumps at the border of two pixels, where
    rounding decides: the largest difference would be one such place.
    """
    found, wanted = (
        found.detach().double().cpu(),
        wanted.detach().double().cpu(),
    )
    if found.shape != wanted.shape:
        return float('inf')
    scale = wanted.norm().clamp(min=1e-12)
    return float((found - wanted).norm() / scale)


def _boxes(num: int) -> Tensor:
    corner = torch.rand(num, 2) * 200
    return torch.cat([corner, corner + 5 + torch.rand(num, 2) * 80], 1)


def _gradients(out: Tensor, weight: Tensor, *leaves: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad((out.float() * weight).sum(), leaves))


def _nms(device: torch.device, dtype: torch.dtype) -> tuple[Result, Result]:
    boxes, rank = _boxes(1000).to(dtype), torch.arange(1000)
    # Values that bf16 holds, none of them twice.
    scores = (255 - rank % 128) / 256 * 0.5 ** (rank // 128)

    def on(where: Any, kind: torch.dtype) -> Result:
        kept, index = nms(boxes.to(where, kind), scores.to(where, kind), 0.5)
        return dict(kept=index, boxes=kept[:, :4])

    return on(device, dtype), on('cpu', torch.float32)


def _batched_nms(device, dtype) -> tuple[Result, Result]:
    # Boxes are always fp32 in detectors, since their priors are; mmcv moves
    # those of each class by an offset, which half precision would round.
    boxes, ids = _boxes(1000), torch.randint(8, (1000,))
    scores = torch.rand(1000).to(dtype)
    if dtype != torch.float32:  # no ties
        scores = (255 - torch.arange(1000) % 128) / 256
        scores = (scores * 0.5 ** (torch.arange(1000) // 128)).to(dtype)

    def on(where: Any, kind: torch.dtype) -> Result:
        cfg = dict(type='nms', iou_threshold=0.5)
        _, index = batched_nms(
            boxes.to(where), scores.to(where, kind), ids.to(where), cfg
        )
        return dict(kept=index)

    return on(device, dtype), on('cpu', torch.float32)


def _roi_align(device, dtype) -> tuple[Result, Result]:
    maps = torch.randn(2, 16, 32, 32).to(dtype)
    rois = torch.cat([torch.randint(2, (40, 1)).float(), _boxes(40)], 1)
    rois, weight = rois.to(dtype), torch.randn(40, 16, 7, 7)

    def on(where: Any, kind: torch.dtype) -> Result:
        leaf = maps.to(where, kind).detach().requires_grad_()
        out = roi_align(leaf, rois.to(where, kind), (7, 7), 0.125, 2)
        (grad,) = _gradients(out, weight.to(where), leaf)
        return dict(out=out, grad=grad)

    return on(device, dtype), on('cpu', torch.float32)


def _focal(device, dtype) -> tuple[Result, Result]:
    logits = torch.randn(500, 8).to(dtype)
    target = torch.randint(9, (500,))
    leaf = logits.to(device).detach().requires_grad_()
    out = sigmoid_focal_loss(leaf, target.to(device), 2.0, 0.25, None, 'none')
    (grad,) = torch.autograd.grad(out.sum(), leaf)
    reference = logits.float().clone().requires_grad_()
    hot = F.one_hot(target, 9)[:, :8].float()
    p = torch.where(hot > 0, reference.sigmoid(), 1 - reference.sigmoid())
    wanted = -torch.where(hot > 0, 0.25, 0.75) * (1 - p) ** 2 * p.log()
    wanted.sum().backward()
    assert reference.grad is not None
    return (
        dict(out=out, grad=grad),
        dict(out=wanted, grad=reference.grad),
    )


def _attention_inputs(
    sides: list[tuple[int, int]], batch: int, heads: int, width: int
) -> list[Tensor]:
    shapes = torch.tensor(sides)
    total = int(shapes.prod(1).sum())
    starts = torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])
    value = torch.randn(batch, total, heads, width)
    places = torch.rand(batch, total, heads, len(sides), 4, 2) * 1.1 - 0.05
    weights = torch.rand(batch, total, heads, len(sides) * 4).softmax(-1)
    weights = weights.view(batch, total, heads, len(sides), 4)
    return [value, shapes, starts, places, weights]


def _attention(device, dtype) -> tuple[Result, Result]:
    inputs = _attention_inputs([(16, 32), (8, 16), (4, 8)], 2, 8, 32)
    value, shapes, starts, places, weights = inputs
    value, places, weights = (t.to(dtype) for t in (value, places, weights))
    leaves = [
        t.to(device).detach().requires_grad_()
        for t in (value, places, weights)
    ]
    out = MultiScaleDeformableAttnFunction.apply(
        leaves[0], shapes.to(device), starts.to(device), *leaves[1:], 64
    )
    factor = torch.randn(out.shape)
    grads = _gradients(out, factor.to(device), *leaves)
    reference = [
        t.float().detach().requires_grad_() for t in (value, places, weights)
    ]
    wanted = multi_scale_deformable_attn_pytorch(
        reference[0], shapes, *reference[1:]
    )
    others = _gradients(wanted, factor, *reference)
    names = ('grad of values', 'grad of places', 'grad of weights')
    return (
        dict(zip(('out', *names), (out, *grads), strict=True)),
        dict(zip(('out', *names), (wanted, *others), strict=True)),
    )


OPERATORS: dict[str, Callable[..., tuple[Result, Result]]] = dict(
    nms=_nms,
    batched_nms=_batched_nms,
    roi_align=_roi_align,
    sigmoid_focal_loss=_focal,
    multi_scale_deformable_attention=_attention,
)


def run(device: torch.device, nano: bool, report: Report) -> None:
    """Compare values and gradients in each type, then time attention."""
    if device.type == 'cpu':
        report.add('relative errors', operator='none: mmcv has some on a GPU')
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    for name, operator in OPERATORS.items():
        for dtype in DTYPES:
            torch.manual_seed(0)
            kind = str(dtype).removeprefix('torch.')
            try:
                found, wanted = operator(device, dtype)
                row = {k: relative(found[k], wanted[k]) for k in wanted}
                worst = max(row.values())
                limit = 1e-4 if dtype == torch.float32 else 2e-2
                report.add('relative errors', operator=name, dtype=kind,
                           worst=worst, passed=worst <= limit,
                           where=max(row, key=lambda k: row[k]))  # fmt: skip
            except Exception:
                report.error(f'{name} {kind}', traceback.format_exc())
    _time_attention(device, nano, report)


def _time_attention(device, nano: bool, report: Report) -> None:
    """Time the operator at the size of a layer of Mask2Former's decoder."""
    sides = [(64, 128), (32, 64), (16, 32)]  # 512 x 1024
    if nano:
        sides = [(4, 8), (2, 4), (1, 2)]
    inputs = _attention_inputs(sides, 4, 8, 32)
    value, shapes, starts, places, weights = (t.to(device) for t in inputs)
    leaves = [t.detach().requires_grad_() for t in (value, places, weights)]

    def kernel() -> Tensor:
        return MultiScaleDeformableAttnFunction.apply(
            leaves[0], shapes, starts, *leaves[1:], 64
        )

    def plain() -> Tensor:
        return multi_scale_deformable_attn_pytorch(
            leaves[0], shapes, *leaves[1:]
        )

    def both(function: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function().sum(), leaves)

    rounds = 1 if nano else 10
    calls = {"mmcv's kernel": kernel, "PyTorch's operators": plain}
    for name, function in calls.items():
        report.add(
            'attention, 4 images of 512 x 1024, ms',
            which=name,
            forward=milliseconds(function, device, rounds, 1),
            both=milliseconds(both(function), device, rounds, 1),
        )
