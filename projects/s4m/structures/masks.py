# SPDX-License-Identifier: Apache-2.0
"""Masks of many instances at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor


def upsample_masks(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear (N, H, W) binary masks of (N, h, w) logits.

    In pieces: only bool masks exist for all N at full resolution.
    """
    if len(logits) == 0:
        return logits.new_zeros((0, *size), dtype=torch.bool)
    return torch.cat(
        [
            F.interpolate(
                part[:, None].float(),
                size,
                mode='bilinear',
                align_corners=False,
            )[:, 0]
            > 0
            for part in logits.split(32)
        ]
    )


def resize_cropped_masks(
    logits: Tensor,
    canvas: tuple[int, int],
    valid: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Binary masks of an image without its padding, at another size.

    Args:
        logits (Tensor): (n, h, w) that cover the padded canvas.
        canvas (tuple[int, int]): (H, W) of the padded image.
        valid (tuple[int, int]): (H, W) of the image in it, at the upper left.
        size (tuple[int, int]): (H, W) of the result.

    Returns:
        Tensor: (n, H, W) bool.
    """
    if len(logits) == 0:
        return logits.new_zeros((0, *size), dtype=torch.bool)
    masks = []
    for part in logits.split(32):
        part = _bilinear(part[:, None].float(), canvas)
        part = part[..., : valid[0], : valid[1]]
        masks.append(_bilinear(part, size)[:, 0] > 0)
    return torch.cat(masks)


def _bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x.shape[-2:]) == size:
        return x
    return F.interpolate(x, size, mode='bilinear', align_corners=False)


def nearest_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, H, W) bool masks at another size."""
    if tuple(masks.shape[-2:]) == size:
        return masks
    if len(masks) == 0:
        return masks.new_zeros((0, *size))
    seen = F.interpolate(masks[:, None].byte(), size, mode='nearest')
    return seen[:, 0].bool()


def at_full_size(item: InstanceData, size: tuple[int, int]) -> Tensor:
    """Bool masks of pseudo-labels at image resolution.

    Those that have another size are up-sampled from their ``mask_logits``.
    """
    if tuple(item.masks.shape[-2:]) == size:
        return item.masks
    return upsample_masks(item.mask_logits, size)


def occupied_range(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First true position of each row, and one past the last.

    Args:
        occupied (Tensor): (n, L) bool; a row without a true one gives (0, L).

    Returns:
        tuple[Tensor, Tensor]: (n, 1) int64 each.
    """
    first = occupied.int().argmax(1, keepdim=True)
    behind = occupied.flip(1).int().argmax(1, keepdim=True)
    return first, occupied.shape[1] - behind


def masks_to_boxes(masks: Tensor) -> Tensor:
    """Boxes around masks, as MMDet counts: (x1, y1) in, (x2, y2) out.

    Args:
        masks (Tensor): (n, H, W) bool, none empty.

    Returns:
        Tensor: (n, 4) fp32 (x1, y1, x2, y2).
    """
    left, right = occupied_range(masks.any(1))
    top, bottom = occupied_range(masks.any(2))
    return torch.cat([left, top, right, bottom], 1).float()
