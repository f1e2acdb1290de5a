# SPDX-License-Identifier: Apache-2.0
"""Run in fp32 what MMCV and MMDetection cannot run in half precision.

Inside autocast a network's maps are bf16 or fp16. Four groups of code get them
and should not:

* CUDA operators of mmcv. None has a bf16 kernel, and nms takes boxes in fp32
  only ("not implemented for 'BFloat16'", "expected scalar type Float but found
  Half").
* Anchors and points, which MMDetection makes in the type of the predictions:
  bf16 rounds a coordinate above 1024 to a multiple of 8 pixels, fp16 one above
  2048 to a multiple of 2.
* RoI extractors, which round the regions in the same way.
* MaskFormer's losses, whose number of pixels overflows fp16: they are 0 or
  NaN.

The functions here change MMCV's and MMDetection's classes, because detectors
of any config use them. Inputs in fp32 are treated as before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

#: mmcv's operators by their module, and whether the result gets the type of
#: the input again; a loss stays in fp32, as PyTorch's losses do in autocast.
_OPERATORS = {
    'focal_loss.SigmoidFocalLossFunction': False,
    'multi_scale_deform_attn.MultiScaleDeformableAttnFunction': True,
    'nms.NMSop': True,
    'roi_align.RoIAlignFunction': True,
}


def computes_in_bf16(device: torch.device) -> bool:
    """Check whether a device has bf16 in hardware.

    GPUs have it since Ampere, CPUs with AVX512-BF16 or AMX. Others emulate
    it, which is slower than fp32.

    Args:
        device (torch.device): Device to ask.

    Example:
        >>> computes_in_bf16(torch.device('meta'))
        False
    """
    if device.type == 'cuda':
        return torch.version.hip is not None or (
            torch.cuda.get_device_capability(device) >= (8, 0)
        )
    return device.type == 'cpu' and (
        torch.cpu._is_avx512_bf16_supported()
        or torch.cpu._is_amx_tile_supported()
    )


def is_half(value: Any) -> bool:
    """Check whether a value is a tensor in bf16 or fp16."""
    halves = (torch.bfloat16, torch.float16)
    return isinstance(value, Tensor) and value.dtype in halves


def _widen(values: Iterable) -> tuple:
    return tuple(v.float() if is_half(v) else v for v in values)


def run_half_inputs_in_fp32() -> None:
    """Let detectors train and predict inside autocast, whatever they use.

    mmcv's operators in ``_OPERATORS`` compute in fp32 where an input is half;
    priors are made in fp32; RoI extractors get maps and regions, and
    MaskFormer's losses get logits in fp32. The
    operators can be left out from the mmcv on that dispatches their CUDA
    kernels for bf16 and nms for half boxes (onedl-mmcv 2.3.6 and mmcv 2.2.0
    do not); the others when MMDetection computes them in fp32
    (onedl-mmdetection 3.5.1 and mmdet 3.3.0 do not).
    """
    for name, narrow in _OPERATORS.items():
        module, function = name.split('.')
        run_function_in_fp32(
            getattr(import_module(f'mmcv.ops.{module}'), function), narrow
        )
    generators = import_module('mmdet.models.task_modules.prior_generators')
    for cls in (generators.AnchorGenerator, generators.MlvlPointGenerator):
        cls.single_level_grid_priors = _with_fp32_priors(
            cls.single_level_grid_priors
        )
    extractors = import_module('mmdet.models.roi_heads.roi_extractors')
    for cls in (
        extractors.SingleRoIExtractor,
        extractors.GenericRoIExtractor,
    ):
        cls.forward = _with_fp32_maps(cls.forward)
    head = import_module('mmdet.models.dense_heads').MaskFormerHead
    head.loss_by_feat = _with_fp32_logits(head.loss_by_feat)


def run_function_in_fp32(function: type[Function], narrow: bool) -> None:
    """Change an autograd function so that it computes half inputs in fp32.

    Its ``apply``, which other modules have imported by name, stays.

    Args:
        function (type[Function]): The function; changed in place.
        narrow (bool): Whether the result gets the type of the half input.

    Example:
        >>> class Square(Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x * x
        ...
        ...     @staticmethod
        ...     def backward(ctx, grad):
        ...         (x,) = ctx.saved_tensors
        ...         return 2 * x * grad
        >>> run_function_in_fp32(Square, narrow=False)
        >>> Square.apply(torch.ones(1).half()).dtype
        torch.float32
    """
    forward, backward = function.forward, function.backward

    @functools.wraps(forward)
    def wide_forward(ctx, *args):
        half = next((a for a in args if is_half(a)), None)
        if half is None:
            return forward(ctx, *args)
        result = forward(ctx, *_widen(args))
        if narrow and result.is_floating_point():
            result = result.to(half.dtype)
        return result

    @functools.wraps(backward)
    def wide_backward(ctx, *grads):
        # Autograd casts the result to the type of each input.
        return backward(ctx, *_widen(grads))

    # A staticmethod, so that mypy sees the same kind of attribute.
    setattr(function, 'forward', staticmethod(wide_forward))  # noqa: B010
    setattr(function, 'backward', staticmethod(wide_backward))  # noqa: B010


def _with_fp32_priors(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Wrap ``single_level_grid_priors``; predictions promote to fp32."""

    @functools.wraps(make)
    def wide(
        self,
        featmap_size: tuple[int, int],
        level_idx: int,
        dtype: torch.dtype = torch.float32,
        **kwargs,
    ) -> Tensor:
        if dtype in (torch.bfloat16, torch.float16):
            dtype = torch.float32
        return make(self, featmap_size, level_idx, dtype=dtype, **kwargs)

    return wide


def _with_fp32_maps(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Wrap the ``forward`` of an RoI extractor."""

    @functools.wraps(forward)
    def wide(self, feats: Iterable[Tensor], rois: Tensor, *args, **kwargs):
        feats = tuple(feats)
        if not is_half(feats[0]):
            return forward(self, feats, rois, *args, **kwargs)
        out = forward(self, _widen(feats), rois.float(), *args, **kwargs)
        return out.to(feats[0].dtype)

    return wide


def _with_fp32_logits(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``MaskFormerHead.loss_by_feat``, which Mask2Former inherits."""

    @functools.wraps(loss)
    def wide(
        self,
        all_cls_scores: Iterable[Tensor],
        all_mask_preds: Iterable[Tensor],
        *args,
        **kwargs,
    ):
        scores, masks = (
            # A tensor (layers, ...) or a list of layers.
            logits.float() if isinstance(logits, Tensor) else _widen(logits)
            for logits in (all_cls_scores, all_mask_preds)
        )
        with torch.autocast(masks[0].device.type, enabled=False):
            return loss(self, scores, masks, *args, **kwargs)

    return wide
