# SPDX-License-Identifier: Apache-2.0
"""Corrections of single versions of OneDL's forks of the mm packages.

Each function says for which version it is there, and can be removed when that
version is no longer supported.
"""

from __future__ import annotations

import contextlib
import importlib
import io

from torch import Tensor, nn

_NOTICE = 'Could not import OneDL'


def import_mmdet_quietly() -> None:
    """Import MMDetection without its notice on data sets of OneDL.

    onedl-mmdetection 3.5.1 prints "Could not import OneDL. Skipping OneDL
    datasets." twice where OneDL's own package, which is not public, is not
    installed. Not needed for a version that does not print it, and without
    effect where MMDetection was imported before.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            importlib.import_module('mmdet.datasets')
    finally:
        for line in printed.getvalue().splitlines():
            if _NOTICE not in line:
                print(line)


def narrow_box_encoding(
    head: nn.Module, args: tuple[Tensor]
) -> tuple[Tensor] | None:
    """Give Grounding DINO's box embedding the encoding it was made for.

    onedl-mmdetection 3.5.1 encodes a coordinate in 256 channels for DINO; the
    head of Grounding DINO, and its published weights, take 128. Their
    frequencies are every second one of the wider encoding's. Not needed for
    a version whose ``GroundingDinoTransformerDecoder`` encodes in 128
    channels, where it changes nothing.

    Args:
        head (nn.Module): The decoder's ``ref_point_head``.
        args (tuple[Tensor]): Its input, (..., 4 * channels).

    Returns:
        tuple[Tensor] | None: The input of half as many channels, or None
        where the head takes the input as it is: what a forward pre-hook
        returns.

    Example:
        >>> decoder.ref_point_head.register_forward_pre_hook(
        ...     narrow_box_encoding
        ... )  # doctest: +SKIP
    """
    (encoding,) = args
    layer = head.get_submodule('layers.0')
    assert isinstance(layer, nn.Linear)
    if encoding.shape[-1] != 2 * layer.in_features:
        return None
    # Pairs of sine and cosine, a coordinate after the other.
    pairs = encoding.unflatten(-1, (-1, 2))[..., ::2, :]
    return (pairs.flatten(-2),)
