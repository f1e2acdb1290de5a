# SPDX-License-Identifier: Apache-2.0
"""Compare chunk sizes of L_pxl, 4 images, R = 200, 384 channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from s4m.models import PixelContrastiveLoss
from s4m.utils.timing import measure


def compare(
    size: tuple[int, int], repeats: int, device: str, **_
) -> dict[str, dict[str, float]]:
    """Measure times and memory by the name of the variant.

    Args:
        size (tuple[int, int]): (H, W) of the images.
        repeats (int): Number of turns.
        device (str): Device of the features.
    """

    def call(stride: int, **kwargs) -> Callable[[], object]:
        # The student pads images to patches of 14 pixels.
        patches = [math.ceil(side / 14) for side in size]
        grid = [math.ceil(14 * n / stride) for n in patches]
        features = torch.randn(2, 4, 384, *grid, device=device)
        weak, strong = features.unbind(0)
        weak = weak.clone().requires_grad_()
        masks = torch.randn(4, 100, size[0] // 4, size[1] // 4, device=device)
        classes = torch.randn(4, 100, 9, device=device)
        loss = PixelContrastiveLoss(384, **kwargs).to(device)
        return lambda: loss(weak, strong, masks, classes).backward()

    square = 2**30  # all anchors at once
    return measure(
        {
            'stride 28': call(28),
            'stride 28, one anchor at a time': call(28, chunk_size=1),
            'stride 14': call(14),
            'stride 14, one chunk an image': call(14, chunk_size=square),
        },
        repeats,
    )
