# SPDX-License-Identifier: Apache-2.0
"""Geometry of many masks at once, on the device of the masks."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from torch import Tensor

#: Number of pixels that :func:`pairwise_iou` multiplies at a time.
_PIXELS = 2**18


def spatial_size(maps: Tensor) -> tuple[int, int]:
    """Height and width of maps.

    Args:
        maps (Tensor): (..., H, W).

    Returns:
        tuple[int, int]: (H, W).
    """
    height, width = maps.shape[-2:]
    return height, width


def upsample_masks(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Up-sample mask logits bilinearly and binarise them.

    The logits are up-sampled 32 at a time, so that only bool masks exist for
    all of them at full resolution.

    Args:
        logits (Tensor): (N, h, w) mask logits.
        size (tuple[int, int]): (H, W) of the result.

    Returns:
        Tensor: (N, H, W) bool, true where the logit is positive.
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


def resize_valid_part(
    logits: Tensor,
    padded: tuple[int, int],
    valid: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Cut the padding off mask logits, then resize and binarise them.

    Args:
        logits (Tensor): (n, h, w) mask logits that cover the padded image.
        padded (tuple[int, int]): (H, W) of the padded image.
        valid (tuple[int, int]): (H, W) of the image at the upper left of
            the padded one.
        size (tuple[int, int]): (H, W) of the result.

    Returns:
        Tensor: (n, H, W) bool.
    """
    if len(logits) == 0:
        return logits.new_zeros((0, *size), dtype=torch.bool)
    masks = []
    for part in logits.split(32):
        part = _bilinear(part[:, None].float(), padded)
        part = part[..., : valid[0], : valid[1]]
        masks.append(_bilinear(part, size)[:, 0] > 0)
    return torch.cat(masks)


def _bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    if spatial_size(x) == size:
        return x
    return F.interpolate(x, size, mode='bilinear', align_corners=False)


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks with nearest-neighbour sampling.

    Args:
        masks (Tensor): (n, H, W) bool.
        size (tuple[int, int]): (h, w) of the result.

    Returns:
        Tensor: (n, h, w) bool; the same object where the size is right.
    """
    if spatial_size(masks) == size:
        return masks
    if len(masks) == 0:
        return masks.new_zeros((0, *size))
    resized = F.interpolate(masks[:, None].byte(), size, mode='nearest')
    return resized[:, 0].bool()


def masks_at_image_size(item: InstanceData, size: tuple[int, int]) -> Tensor:
    """Return the masks of pseudo-labels at the size of the padded image.

    Where the masks have another size, the ``mask_logits`` are up-sampled.

    Args:
        item (InstanceData): ``masks`` (n, H, W), or ``masks`` (n, h, w) with
            ``mask_logits`` (n, h, w).
        size (tuple[int, int]): (H, W) of the padded image.

    Returns:
        Tensor: (n, H, W) bool.
    """
    if spatial_size(item.masks) == size:
        return item.masks
    return upsample_masks(item.mask_logits, size)


def occupied_range(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Find the first true position of each row, and one past the last.

    Args:
        occupied (Tensor): (n, L) bool.

    Returns:
        tuple[Tensor, Tensor]: Two (n, 1) int64 positions; 0 and L for a row
        that is false everywhere.
    """
    first = occupied.int().argmax(1, keepdim=True)
    behind = occupied.flip(1).int().argmax(1, keepdim=True)
    return first, occupied.shape[1] - behind


def masks_to_boxes(masks: Tensor) -> Tensor:
    """Compute the tight boxes of masks.

    Args:
        masks (Tensor): (n, H, W) bool, each with at least one pixel.

    Returns:
        Tensor: (n, 4) fp32 (x1, y1, x2, y2) in pixels; x2 and y2 are
        exclusive, as in MMDet.

    Example:
        >>> mask = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> mask[:, 2:5, 1:4] = True
        >>> masks_to_boxes(mask).tolist()
        [[1.0, 2.0, 4.0, 5.0]]
    """
    left, right = occupied_range(masks.any(1))
    top, bottom = occupied_range(masks.any(2))
    return torch.cat([left, top, right, bottom], 1).float()


def pad_masks(
    masks: BitmapMasks | Tensor, size: tuple[int, int], device: torch.device
) -> Tensor:
    """Pad masks at the right and at the bottom to the padded image.

    Args:
        masks (BitmapMasks | Tensor): n masks that cover the padded image or
            its upper left part.
        size (tuple[int, int]): (H, W) of the padded image.
        device (torch.device): Device of the result.

    Returns:
        Tensor: (n, H, W) bool.
    """
    if not isinstance(masks, Tensor):
        masks = masks.to_tensor(torch.bool, device)
    below, right = (s - m for s, m in zip(size, masks.shape[1:], strict=True))
    return F.pad(masks.bool(), (0, right, 0, below))


def mask_union(
    masks: BitmapMasks | Tensor, size: tuple[int, int], device: torch.device
) -> Tensor:
    """Compute the union of masks on the padded image.

    Args:
        masks (BitmapMasks | Tensor): n masks as for :func:`pad_masks`.
        size (tuple[int, int]): (H, W) of the padded image.
        device (torch.device): Device of the result.

    Returns:
        Tensor: (H, W) bool, false everywhere for n = 0.
    """
    union = torch.zeros(size, dtype=torch.bool, device=device)
    if len(masks):
        if isinstance(masks, Tensor):
            merged = masks.bool().any(0)
        else:
            # The union on the host: one map goes to the device, not n.
            merged = torch.from_numpy(np.any(masks.to_ndarray(), axis=0))
        union[: merged.shape[0], : merged.shape[1]] = merged.to(device)
    return union


def topmost(masks: Tensor) -> Tensor:
    """Find the topmost mask at each pixel; later masks lie on top.

    Args:
        masks (Tensor): (n, H, W) bool, n may be 0.

    Returns:
        Tensor: (H, W) int64 index into ``masks``, -1 where no mask lies.

    Example:
        >>> topmost(torch.tensor([[[True, True, False]],
        ...                       [[False, True, False]]])).tolist()
        [[0, 1, -1]]
    """
    if len(masks) == 0:
        return masks.new_full(masks.shape[1:], -1, dtype=torch.long)
    # The smallest integer type that holds the count: the product is an
    # (n, H, W) tensor and dominates the run time.
    dtype = torch.uint8 if len(masks) < 256 else torch.int16
    order = torch.arange(1, len(masks) + 1, dtype=dtype, device=masks.device)
    return (masks * order[:, None, None]).amax(0).long() - 1


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the IoU of two lists of masks, pair by pair.

    Args:
        a (Tensor): (n, h, w) bool.
        b (Tensor): (n, h, w) bool.

    Returns:
        Tensor: (n, ) fp32, 0 where both masks are empty.
    """
    inter = (a & b).sum((1, 2))
    union = (a | b).sum((1, 2)).clamp(min=1)
    return inter / union


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the IoU of each mask of one list with each of another.

    The products are exact inside autocast too: a half-precision sum would
    round areas above 2048 pixels.

    Args:
        a (Tensor): (..., n, h, w) bool.
        b (Tensor): (..., m, h, w) bool with the same leading dimensions.

    Returns:
        Tensor: (..., n, m) fp32, 0 where both masks are empty.
    """
    flat, other = a.flatten(-2), b.flatten(-2)
    inter = torch.zeros(
        (*a.shape[:-2], b.shape[-3]), dtype=torch.float32, device=a.device
    )
    with torch.autocast(a.device.type, enabled=False):
        # Parts of the pixels: only some of them are floats at a time.
        for x, y in zip(
            flat.split(_PIXELS, -1), other.split(_PIXELS, -1), strict=True
        ):
            inter += x.float() @ y.float().mT
    union = flat.sum(-1)[..., :, None] + other.sum(-1)[..., None, :] - inter
    return inter / union.clamp(min=1)


def outranked(scores: Tensor) -> Tensor:
    """Compare each score with each other; of equal ones the first is better.

    Args:
        scores (Tensor): (..., n).

    Returns:
        Tensor: (..., n, n) bool, whether the item of the row has a worse
        score than that of the column.

    Example:
        >>> outranked(torch.tensor([0.5, 0.9])).tolist()
        [[False, True], [False, False]]
    """
    position = torch.arange(scores.shape[-1], device=scores.device)
    this, other = scores[..., :, None], scores[..., None, :]
    first = position < position[:, None]
    return (other > this) | ((other == this) & first)


def mask_nms(
    masks: Tensor,
    scores: Tensor,
    iou_thr: float,
    valid: Tensor | None = None,
) -> Tensor:
    """Suppress duplicates greedily, as the suppression of boxes does.

    From the best score to the worst, a mask stays unless its IoU with a
    better one that stays exceeds the threshold. Classes do not matter. Of
    equal scores, the first is the better one.

    Args:
        masks (Tensor): (..., n, h, w) bool.
        scores (Tensor): (..., n).
        iou_thr (float): IoU above which the mask with the lower score goes.
        valid (Tensor, optional): (..., n) bool, false for masks that go in
            any case and suppress no other. Defaults to None, all valid.

    Returns:
        Tensor: (..., n) bool, true for the masks that stay.

    Example:
        >>> masks = torch.tensor([[[1, 1, 1]], [[1, 1, 0]], [[1, 0, 0]]])
        >>> mask_nms(masks.bool(), torch.tensor([0.9, 0.8, 0.7]), 0.4).tolist()
        [True, False, True]
    """
    rival = outranked(scores) & (pairwise_iou(masks, masks) > iou_thr)
    if valid is None:
        valid = torch.ones_like(scores, dtype=torch.bool)
    return suppress(rival, valid, scores.shape[-1] - 1)


def suppress(rivals: Tensor, valid: Tensor, rounds: int) -> Tensor:
    """Settle which objects stay, given the better ones that each overlaps.

    The loop applies the definition of greedy suppression to all objects at
    once. Its round t settles those that depend on a chain of t better ones,
    so n - 1 rounds settle all. The host never waits for the device.

    Args:
        rivals (Tensor): (..., n, n) bool. Row i has the better objects that
            remove object i if they stay.
        valid (Tensor): (..., n) bool, false for objects that go in any case
            and suppress no other.
        rounds (int): Number of rounds.

    Returns:
        Tensor: (..., n) bool, true for the objects that stay.
    """
    keep = valid
    for _ in range(rounds):
        keep = valid & ~(rivals & keep[..., None, :]).any(-1)
    return keep
