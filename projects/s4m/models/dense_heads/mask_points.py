# SPDX-License-Identifier: Apache-2.0
"""Points of masks: uniform, or where a mask is uncertain (PointRend)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Number of pixels of the masks that are floating-point numbers at a time
#: (64 MiB); masks of objects are bool, and only fp32 can be interpolated.
MAX_PIXELS = 2**24


def random_points(*shape: int, device: torch.device) -> Tensor:
    """Draw points (x, y) uniformly in -1..1, as ``grid_sample`` counts.

    Args:
        *shape (int): Numbers of points.
        device (torch.device): Device of the points.

    Returns:
        Tensor: (\\*shape, 2) fp32 points.
    """
    return torch.rand(*shape, 2, device=device).mul_(2).sub_(1)


def values_at(maps: Tensor, points: Tensor) -> Tensor:
    """Interpolate maps bilinearly; outside of a map is 0.

    Args:
        maps (Tensor): (N, H, W) floating-point maps.
        points (Tensor): (N, P, 2) points (x, y) in -1..1, of the same type.

    Returns:
        Tensor: (N, P) values.
    """
    return F.grid_sample(
        maps[:, None], points[:, :, None], align_corners=False
    )[:, 0, :, 0]


def channels_at(maps: Tensor, points: Tensor) -> Tensor:
    """Interpolate all channels of a map at the same points.

    Args:
        maps (Tensor): (N, C, H, W) floating-point maps.
        points (Tensor): (N, P, 2) points (x, y) in -1..1, of the same type.

    Returns:
        Tensor: (N, C, P) values, those of :func:`values_at` for each channel.
    """
    if maps.device.type == 'cpu':
        # There, one channel at a time takes 0.6 of the time of all at once.
        channels = points[:, None].expand(-1, maps.shape[1], -1, -1)
        parts = [values_at(*item) for item in zip(maps, channels, strict=True)]
        return torch.stack(parts)
    return F.grid_sample(maps, points[:, None], align_corners=False)[:, :, 0]


def masks_at_a_time(masks: Tensor) -> int:
    """Return how many of (N, H, W) masks may be fp32 at the same time."""
    return max(1, MAX_PIXELS // max(1, masks.shape[1] * masks.shape[2]))


def mask_values_at(masks: Tensor, points: Tensor) -> Tensor:
    """Interpolate masks of any type, few at a time.

    Args:
        masks (Tensor): (N, H, W) masks, bool or numbers; N > 0.
        points (Tensor): (N, P, 2) fp32 points (x, y) in -1..1.

    Returns:
        Tensor: (N, P) fp32 values.
    """
    step = masks_at_a_time(masks)
    parts = [
        values_at(some.float(), where)
        for some, where in zip(
            masks.split(step), points.split(step), strict=True
        )
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def uncertain_points(
    logits: Tensor,
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
) -> Tensor:
    """Draw points of which most are where the mask's logit is near 0.

    Of ``oversample_ratio`` times as many random points those with the least
    absolute logits are taken; the rest is uniform
    (`PointRend <https://arxiv.org/abs/1912.08193>`_, training).

    Args:
        logits (Tensor): (N, h, w) fp32 mask logits.
        num_points (int): Number P of points of each mask.
        oversample_ratio (float): Candidates relative to ``num_points``.
        importance_sample_ratio (float): Share of points that are uncertain.

    Returns:
        Tensor: (N, P, 2) fp32 points (x, y) in -1..1.
    """
    num = len(logits)
    num_candidates = int(num_points * oversample_ratio)
    num_uncertain = int(importance_sample_ratio * num_points)
    points = random_points(num, num_candidates, device=logits.device)
    certainty = values_at(logits, points).abs_()
    index = certainty.topk(num_uncertain, largest=False, sorted=False)[1]
    chosen = points.gather(1, index[..., None].expand(-1, -1, 2))
    if num_uncertain == num_points:
        return chosen
    rest = num_points - num_uncertain
    uniform = random_points(num, rest, device=logits.device)
    return torch.cat([chosen, uniform], dim=1)
