# SPDX-License-Identifier: Apache-2.0
"""Correct single versions of the mm packages.

Each function names the version that needs it, and can be removed when that
version is no longer supported.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import pkgutil
from types import SimpleNamespace
from typing import Any

import torch.utils.checkpoint
from torch import Tensor, nn

_NOTICE = 'Could not import OneDL'


def import_mmdet_quietly() -> None:
    """Import MMDetection without its notice on data sets of OneDL.

    onedl-mmdetection 3.5.1 prints "Could not import OneDL. Skipping OneDL
    datasets." twice where OneDL's package, which is not public, is missing.
    A version that does not print it does not need this function, which has no
    effect if MMDetection has been imported already.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            importlib.import_module('mmdet.datasets')
    finally:
        for line in printed.getvalue().splitlines():
            if _NOTICE not in line:
                print(line)


def checkpoint_without_reentry() -> None:
    """Let MMDetection's backbones checkpoint without a second backward pass.

    mmdet 3.3.0 and onedl-mmdetection 3.5.1 call ``checkpoint`` without
    ``use_reentrant``, for which PyTorch takes the variant that runs a backward
    pass inside of the backward pass. ``DistributedDataParallel`` with
    ``find_unused_parameters`` stops there: "Expected to mark a variable ready
    only once". The other variant, which PyTorch recommends, has the same
    results. A version whose backbones pass ``use_reentrant=False`` does not
    need this function.
    """
    backbones = importlib.import_module('mmdet.models.backbones')
    layers = importlib.import_module('mmdet.models.layers')
    resnet = importlib.import_module('mmcv.cnn.resnet')
    modules = [resnet]
    for package in (backbones, layers):
        modules += [
            importlib.import_module(f'{package.__name__}.{module.name}')
            for module in pkgutil.iter_modules(package.__path__)
        ]
    checkpoint = torch.utils.checkpoint.checkpoint
    replacement = SimpleNamespace(
        checkpoint=functools.partial(checkpoint, use_reentrant=False)
    )
    for module in modules:
        # They all import torch.utils.checkpoint as cp.
        if getattr(module, 'cp', None) is torch.utils.checkpoint:
            vars(module)['cp'] = replacement


def narrow_box_encoding(
    head: nn.Module, args: tuple[Tensor]
) -> tuple[Tensor] | None:
    """Narrow the encoding of boxes to the width that Grounding DINO expects.

    onedl-mmdetection 3.5.1 encodes a coordinate in 256 channels for DINO; the
    head of Grounding DINO, and its published weights, take 128. Their
    frequencies are every second frequency of the wider encoding. The function
    changes nothing in a version whose ``GroundingDinoTransformerDecoder``
    encodes in 128 channels, which does not need it.

    Args:
        head (nn.Module): The decoder's ``ref_point_head``.
        args (tuple[Tensor]): Input of the head, (..., 4 * channels).

    Returns:
        tuple[Tensor] | None: The input with half as many channels, or None if
        the head fits the input; a forward pre-hook returns these.

    Example:
        >>> import torch
        >>> from mmdet.models.layers.transformer import MLP
        >>> head = MLP(8, 4, 4, 2)
        >>> _ = head.register_forward_pre_hook(narrow_box_encoding)
        >>> head(torch.zeros(1, 16)).shape
        torch.Size([1, 4])
    """
    (encoding,) = args
    layer = head.get_submodule('layers.0')
    assert isinstance(layer, nn.Linear)
    if encoding.shape[-1] != 2 * layer.in_features:
        return None
    # Sine and cosine alternate within the channels of a coordinate.
    pairs = encoding.unflatten(-1, (-1, 2))[..., ::2, :]
    return (pairs.flatten(-2),)


def format_configs_once() -> None:
    """Let MMEngine format the text of a config once, not six times.

    onedl-mmengine 0.10.12 calls yapf, which takes a second or more for a
    config of 500 lines, for the log, for each file of the config, for each
    visualiser and at each checkpoint. A version that keeps the formatted text
    does not need this function.
    """
    api = importlib.import_module('yapf.yapflib.yapf_api')
    if hasattr(api.FormatCode, 'is_cached'):
        return
    format_code = api.FormatCode

    @functools.lru_cache(maxsize=8)
    def formatted(text: str, style: frozenset, options: frozenset) -> Any:
        return format_code(text, style_config=dict(style), **dict(options))

    def format_once(text: str, style_config: dict, **options: Any) -> Any:
        return formatted(
            text, frozenset(style_config.items()), frozenset(options.items())
        )

    vars(format_once)['is_cached'] = True
    vars(api)['FormatCode'] = format_once
