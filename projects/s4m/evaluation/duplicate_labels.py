# SPDX-License-Identifier: Apache-2.0
"""Find pseudo-labels that label the same object twice, without annotations."""

from __future__ import annotations

import math

import torch
from mmdet.utils import InstanceList
from torch import Tensor

from s4m.structures.masks import (
    outranked,
    pairwise_iou,
    resize_masks,
    spatial_size,
    suppress,
)

#: Masks of more pixels are made smaller. The IoU is a sum over all pixels for
#: each pair of masks, and its value hardly depends on their resolution.
_MAX_PIXELS = 2**15
#: Rounds until it is settled which labels are kept. They are exact unless
#: more than this many labels form a chain in which each label only overlaps
#: its neighbours.
_ROUNDS = 8


@torch.no_grad()
def duplicate_labels(instances: InstanceList, iou_thr: float = 0.5) -> Tensor:
    """Mark the pseudo-labels that repeat another one of their image.

    As in non-maximum suppression, the labels of an image are visited from the
    highest score to the lowest. A label is a duplicate if its mask overlaps
    that of an earlier label, which is not a duplicate itself, with an IoU of
    at least ``iou_thr``; classes do not matter. The host does not wait for
    the device.

    Args:
        instances (list[InstanceData]): Pseudo-labels of at least one image,
            with ``scores`` (n, ) and ``masks`` (n, h, w) bool.
        iou_thr (float): Least IoU of two masks of the same object. Defaults
            to 0.5.

    Returns:
        Tensor: (N, ) bool of all labels, in the order of the images.

    Example:
        >>> from mmengine.structures import InstanceData
        >>> masks = torch.ones(2, 4, 4, dtype=torch.bool)
        >>> item = InstanceData(scores=torch.tensor([0.7, 0.9]), masks=masks)
        >>> duplicate_labels([item]).tolist()
        [True, False]
    """
    size = min((spatial_size(i.masks) for i in instances), key=math.prod)
    factor = math.ceil(math.sqrt(math.prod(size) / _MAX_PIXELS))
    if factor > 1:
        size = math.ceil(size[0] / factor), math.ceil(size[1] / factor)
    masks = torch.cat([resize_masks(i.masks, size) for i in instances])
    scores = torch.cat([item.scores for item in instances])
    image = torch.cat(
        [
            torch.full_like(item.scores, number, dtype=torch.long)
            for number, item in enumerate(instances)
        ]
    )
    # Row i has the labels that come before label i and overlap it.
    overlaps = (image[:, None] == image) & outranked(scores)
    overlaps &= pairwise_iou(masks, masks) >= iou_thr
    valid = torch.ones_like(image, dtype=torch.bool)
    return ~suppress(overlaps, valid, min(len(scores), _ROUNDS))
