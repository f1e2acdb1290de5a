# SPDX-License-Identifier: Apache-2.0
"""Masks of many objects, a few at a time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

#: Number of elements of the largest tensor that predicting masks makes. On a
#: CPU, larger tensors exceed the caches; on a GPU, pieces are launches.
MAX_ELEMENTS = dict(cpu=2**20, cuda=2**25)


def center_of_mass(masks: Tensor, eps: float = 1e-7) -> Tensor:
    """Compute the centres of mass of masks, with MMDet's signature.

    Args:
        masks (Tensor): (n, H, W) bool masks.
        eps (float): Area of an empty mask. Defaults to 1e-7.

    Returns:
        Tensor: (n, 2) x and y in pixels, 0 for an empty mask.

    Example:
        >>> center_of_mass(torch.ones(1, 3, 5, dtype=torch.bool)).tolist()
        [[2.0, 1.0]]
    """
    rows = masks.sum(2, dtype=torch.float32)
    columns = masks.sum(1, dtype=torch.float32)
    area = rows.sum(1).clamp(min=eps)

    def center(sums: Tensor) -> Tensor:
        places = torch.arange(sums.shape[1], device=sums.device)
        return (sums * places).sum(1) / area

    return torch.stack([center(columns), center(rows)], dim=1)


def pieces(tensor: Tensor, elements: int) -> int:
    """Return how many objects a step takes, at least one.

    Args:
        tensor (Tensor): A tensor on the device of the step.
        elements (int): Number of elements that an object needs.
    """
    limit = MAX_ELEMENTS.get(tensor.device.type, MAX_ELEMENTS['cuda'])
    return max(1, limit // elements)


def binary_masks(
    logits: Tensor,
    sizes: list[tuple[int, int]],
    shape: tuple[int, int],
    threshold: float,
) -> Tensor:
    """Resize mask logits, crop and binarise them, in pieces.

    Args:
        logits (Tensor): (n, h, w) mask logits.
        sizes (list[tuple[int, int]]): Sizes (height, width) of the bilinear
            resizing steps, which follow one another.
        shape (tuple[int, int]): Height and width to which the top left part
            is cropped.
        threshold (float): Probability that a pixel of a mask exceeds.

    Returns:
        Tensor: (n, H, W) bool masks.

    Example:
        >>> logits = torch.tensor([[[4.0, -4.0], [4.0, -4.0]]])
        >>> binary_masks(logits, [(4, 4)], (1, 4), 0.5).tolist()
        [[[True, True, False, False]]]
    """
    height = min(shape[0], sizes[-1][0])
    width = min(shape[1], sizes[-1][1])
    masks = logits.new_empty((len(logits), height, width), dtype=torch.bool)
    largest = max(size[0] * size[1] for size in sizes)
    piece = pieces(logits, largest)
    # The sigmoid is monotonic.
    level = math.log(threshold / (1 - threshold))
    for some, out in zip(logits.split(piece), masks.split(piece), strict=True):
        for size in sizes:
            some = F.interpolate(
                some[None], size=size, mode='bilinear', align_corners=False
            )[0]
        torch.gt(some[:, :height, :width], level, out=out)
    return masks
