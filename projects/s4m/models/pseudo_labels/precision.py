# SPDX-License-Identifier: Apache-2.0
"""Precision of pseudo-labels where the ground truth is known."""

from __future__ import annotations

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from s4m.structures.masks import outranked, pairwise_iou


def true_positives(
    item: InstanceData, gt_labels: Tensor, gt_masks: Tensor, iou_thr: float
) -> Tensor:
    """Find the pseudo-labels that are right.

    A pseudo-label is right if an object of its class has an IoU above the
    threshold with it, and no pseudo-label with a better score has this
    object: a second label of an object is wrong. With a threshold of at least
    one half and objects that do not overlap, no mask can have two objects
    (Panoptic Segmentation, https://arxiv.org/abs/1801.00868, section 4.1), so
    this is the greedy matching of the mask AP.

    Args:
        item (InstanceData): ``labels``, ``scores`` (n, ) and ``masks``
            (n, H, W) bool.
        gt_labels (Tensor): (m, ) classes of the objects.
        gt_masks (Tensor): (m, H, W) bool masks of the objects.
        iou_thr (float): IoU that a right mask exceeds, at least 0.5.

    Returns:
        Tensor: (n, ) bool.
    """
    found = pairwise_iou(item.masks, gt_masks) > iou_thr
    found &= item.labels[:, None] == gt_labels[None]
    # (n, n): whether two pseudo-labels have an object in common.
    shared = (found[:, None] & found[None]).any(-1)
    return found.any(1) & ~(shared & outranked(item.scores)).any(1)


def lowest_precise_thresholds(
    total: Tensor, correct: Tensor, precision: float
) -> Tensor:
    """Find the lowest score from which on pseudo-labels are precise enough.

    Only scores at which there are pseudo-labels count, since nothing is known
    about others.

    Args:
        total (Tensor): (K, S) number of pseudo-labels by class and score; the
            S scores divide 0..1 evenly.
        correct (Tensor): (K, S) number of those that are right.
        precision (float): Share of right ones to reach.

    Returns:
        Tensor: (K, ) thresholds in 0..1, 1 where no threshold suffices.

    Example:
        >>> total = torch.tensor([[4.0, 2.0, 2.0, 2.0]])
        >>> correct = torch.tensor([[0.0, 1.0, 2.0, 2.0]])
        >>> lowest_precise_thresholds(total, correct, 0.8)
        tensor([0.2500])
    """
    above = total.flip(1).cumsum(1).flip(1)
    right = correct.flip(1).cumsum(1).flip(1)
    enough = (total > 0) & (right >= precision * above)
    edges = torch.arange(total.shape[1], device=total.device)
    edges = (edges / total.shape[1]).expand_as(total)
    return edges.masked_fill(~enough, 1.0).amin(1)
