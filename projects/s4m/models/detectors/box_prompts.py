# SPDX-License-Identifier: Apache-2.0
"""Boxes of a detector as prompts of a segmenter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import InstanceList
from mmengine.model import stack_batch
from mmengine.structures import InstanceData
from torch import Tensor

from s4m.structures.masks import pad_masks

from .contrastive_self_training import NOWHERE


def best_boxes(
    pred: InstanceData, score_thr: float, max_per_image: int
) -> InstanceData:
    """Choose the boxes of an image that become prompts.

    Args:
        pred (InstanceData): Predictions with ``bboxes`` (n, 4), ``scores``
            and ``labels`` (n, ).
        score_thr (float): Score that a box has to exceed.
        max_per_image (int): Largest number of boxes.

    Returns:
        InstanceData: The three fields, best score first.
    """
    order = pred.scores.argsort(descending=True)
    order = order[pred.scores[order] > score_thr]
    order = order[:max_per_image]
    return InstanceData(
        bboxes=pred.bboxes[order],
        scores=pred.scores[order],
        labels=pred.labels[order],
    )


def size_at_scale(
    shape: tuple[int, int],
    ori_shape: tuple[int, int],
    scale: tuple[int, int],
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Compute a view's size when its original image is resized to a scale.

    Args:
        shape (tuple[int, int]): (H, W) of the view.
        ori_shape (tuple[int, int]): (H, W) of the original image.
        scale (tuple[int, int]): The longest and the shortest side that the
            original may have, in any order.

    Returns:
        tuple: (H, W) of the resized view and its ratios (x, y) to the view.

    Example:
        >>> size_at_scale((512, 512), (1024, 2048), (1024, 800))
        ((256, 256), (0.5, 0.5))
    """
    ratio = min(
        max(scale) / max(ori_shape),
        min(scale) / min(ori_shape),
    )
    # mmcv rounds in the same way.
    height, width = (int(side * ratio + 0.5) for side in shape)
    return (height, width), (width / shape[1], height / shape[0])


def resize_to_scale(
    inputs: Tensor, batch_data_samples: SampleList, scale: tuple[int, int]
) -> tuple[Tensor, SampleList, list[Tensor]]:
    """Resize the views of a batch to a detector's test size.

    Args:
        inputs (Tensor): (B, 3, H, W) normalised images.
        batch_data_samples (list[DetDataSample]): Samples with ``img_shape``
            and ``ori_shape``.
        scale (tuple[int, int]): Scale as for :func:`size_at_scale`.

    Returns:
        tuple: (B, 3, H', W') images, padded with 0, which is the mean pixel
        of normalised images; samples with the metainfo of these images; and
        for each image (4, ) factors from the boxes of the view to those of
        the resized view.
    """
    images, views, factors = [], [], []
    for image, sample in zip(inputs, batch_data_samples, strict=True):
        height, width = sample.img_shape[:2]
        size, factor = size_at_scale(
            (height, width), sample.ori_shape[:2], scale
        )
        image = F.interpolate(
            image[None, :, :height, :width],
            size,
            mode='bilinear',
            align_corners=False,
            antialias=True,
        )
        images.append(image[0])
        views.append(dict(sample.metainfo, img_shape=size))
        factors.append(inputs.new_tensor(factor).repeat(2))
    batch = stack_batch(images)
    padded = tuple(batch.shape[-2:])
    samples = [
        DetDataSample(
            metainfo=view | dict(batch_input_shape=padded, pad_shape=padded)
        )
        for view in views
    ]
    return batch, samples, factors


def box_queries(
    boxes: InstanceList, masks: list[Tensor], num_classes: int
) -> tuple[Tensor, Tensor]:
    """Express boxes and their masks as queries of a MaskFormer.

    Query 0 is the background: its mask logits are 0 everywhere and its class
    is "no object" with probability 1.

    Args:
        boxes (list[InstanceData]): Boxes of each image, with ``scores`` and
            ``labels`` (n, ).
        masks (list[Tensor]): (n, h, w) mask logits of each image's boxes.
        num_classes (int): Number C of classes.

    Returns:
        tuple[Tensor, Tensor]: (B, 1 + max n, h, w) mask logits and
        (B, 1 + max n, C + 1) logarithms of class probabilities. The
        probability of a box's class is its score; the rest goes to "no
        object", which is the last class.
    """
    num_queries = 1 + max(len(item) for item in boxes)
    size = (len(boxes), num_queries, *masks[0].shape[-2:])
    all_masks = masks[0].new_full(size, NOWHERE, dtype=torch.float32)
    all_masks[:, 0] = 0
    probs = all_masks.new_zeros((*size[:2], num_classes + 1))
    probs[..., num_classes] = 1
    for i, (item, logits) in enumerate(zip(boxes, masks, strict=True)):
        rows = torch.arange(1, 1 + len(item), device=logits.device)
        all_masks[i, rows] = logits.float()
        probs[i, rows, num_classes] = 1 - item.scores.float()
        probs[i, rows, item.labels] = item.scores.float()
    return all_masks, probs.clamp(min=1e-6).log()


def mask_targets(
    instances: InstanceList,
    image_size: tuple[int, int],
    size: tuple[int, int],
    device: torch.device,
) -> Tensor:
    """Resize ground truth masks to the resolution of the segmenter's logits.

    Args:
        instances (list[InstanceData]): Objects with ``masks``, N in all.
        image_size (tuple[int, int]): (H, W) of the padded images.
        size (tuple[int, int]): (h, w) of the logits.
        device (torch.device): Device of the result.

    Returns:
        Tensor: (N, h * w) fp32, 1 where an object covers more than half of a
        cell, else 0.
    """
    masks = torch.cat(
        [pad_masks(item.masks, image_size, device) for item in instances]
    )
    share = F.interpolate(masks[:, None].float(), size, mode='area')
    return (share.flatten(1) > 0.5).float()
