# SPDX-License-Identifier: Apache-2.0
"""Precision of SAM 2's weights and of its computations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from s4m.utils.mixed_precision import computes_in_bf16

#: Values of the option ``dtype`` of the segmenter.
DTYPES = ('float32', 'bfloat16', 'float16')
#: Layers whose products autocast computes in half precision.
_PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


@contextmanager
def sam2_precision(
    model: nn.Module, dtype: str | None, frozen: bool, device: torch.device
) -> Iterator[None]:
    """Context in which sam2's model computes in a type.

    The layers of a frozen model get their weights in this type, so that
    autocast does not cast them at each call; results are the same.

    Args:
        model (nn.Module): sam2's model.
        dtype (str, optional): One of :data:`DTYPES`; None is bf16 for a
            frozen model on a device that computes in it, otherwise fp32.
        frozen (bool): Whether the model does not train, so that no gradients
            are computed.
        device (torch.device): Device of the model.
    """
    if dtype is None:
        is_half = frozen and computes_in_bf16(device)
        dtype = 'bfloat16' if is_half else 'float32'
    kind = getattr(torch, dtype)
    if frozen:
        cast_products(model, kind)
    autocast = torch.autocast(device.type, kind, enabled=dtype != 'float32')
    with torch.no_grad() if frozen else nullcontext(), autocast:
        yield


def cast_products(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the weights that autocast would cast, in place.

    Norms, embeddings and positions stay as they are, as in autocast.

    Args:
        model (nn.Module): Model.
        dtype (torch.dtype): Type of the weights.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        >>> cast_products(model, torch.bfloat16)
        >>> [layer.weight.dtype for layer in model]
        [torch.bfloat16, torch.float32]
    """
    layers = [m for m in model.modules() if isinstance(m, _PRODUCTS)]
    # All have one type.
    if layers and layers[0].weight.dtype != dtype:
        for layer in layers:
            layer.to(dtype)
