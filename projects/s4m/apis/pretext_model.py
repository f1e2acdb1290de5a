# SPDX-License-Identifier: Apache-2.0
"""The tasks on which a Mask2Former is pretrained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from mmdet.models.detectors import Mask2Former
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.func import functional_call

from s4m.datasets.random_scenes import FAMILIES
from s4m.utils.recording import record_output

#: Queries that scenes of few objects use.
FEW_QUERIES = 20


@contextmanager
def first_queries(
    model: Mask2Former, num: int | None
) -> Iterator[dict[str, Tensor]]:
    """Let a Mask2Former use its first queries only.

    Args:
        model (Mask2Former): Detector.
        num (int, optional): Number of queries, or None for all.

    Yields:
        dict[str, Tensor]: Parameters for ``torch.func.functional_call``.
    """
    head = model.panoptic_head
    total = head.num_queries
    head.num_queries = num or total
    try:
        yield {
            f'panoptic_head.{name}.weight': getattr(head, name).weight[:num]
            for name in ('query_feat', 'query_embed')
        }
    finally:
        head.num_queries = total


class PretextModel(nn.Module):
    """A detector with a second, dense task that has no queries.

    A Mask2Former from scratch learns slowly, since at first its queries match
    other objects in every step. The dense task needs no matching. From its
    mask feature, each pixel has to tell the class of its object, the offset
    to the object's centre, in units of the object's size, and this size; and
    the mean mask feature of an object has to segment the object. Its two
    layers are not part of the result.

    Args:
        detector (Mask2Former): Detector with 100 queries.
    """

    def __init__(self, detector: Mask2Former) -> None:
        super().__init__()
        self.detector: Mask2Former = detector
        channels = detector.panoptic_head.mask_embed[-1].out_features
        self.to_mask = nn.Linear(channels, channels)
        # Background and classes, offset (y, x), logarithm of the size.
        self.to_pixel = nn.Conv2d(channels, 1 + len(FAMILIES) + 3, 1)

    def _normalize(self, rgb: Tensor) -> Tensor:
        prepare = self.detector.data_preprocessor
        return (rgb.float() - prepare.mean) / prepare.std

    def detector_loss(
        self, rgb: Tensor, samples: SampleList, few: bool
    ) -> Tensor:
        """Compute the sum of the Mask2Former's losses on a batch.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.
            samples (list[DetDataSample]): Samples with ``gt_instances``.
            few (bool): Whether only the first 20 queries are used.
        """
        inputs = self._normalize(rgb)
        queries = first_queries(self.detector, FEW_QUERIES if few else None)
        with queries as parameters:
            losses = functional_call(
                self.detector, parameters, (inputs, samples), dict(mode='loss')
            )
        parts = [v.mean() for k, v in losses.items() if 'loss' in k]
        return torch.stack(parts).sum()

    def loss(
        self, rgb: Tensor, samples: SampleList, few: bool, dense: bool
    ) -> Tensor:
        """Compute the sum of the losses of both tasks.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.
            samples (list[DetDataSample]): Samples with ``gt_instances``.
            few (bool): Whether only the first 20 queries are used.
            dense (bool): Whether only the dense task is used, without the
                transformer decoder.
        """
        decoder = self.detector.panoptic_head.pixel_decoder
        loss = rgb.new_zeros((), dtype=torch.float32)
        with record_output(decoder) as outputs:
            if dense:
                decoder(self.detector.extract_feat(self._normalize(rgb)))
            else:
                loss = self.detector_loss(rgb, samples, few)
        features = outputs[0][0]
        pixels = self.to_pixel(features)
        parts = []
        for i, sample in enumerate(samples):
            gt = sample.gt_instances
            if len(gt.labels):
                parts.append(pixel_loss(pixels[i], gt))
                parts.append(self.object_loss(features[i], gt))
        # Scenes without an object give a loss of 0 that has a gradient.
        parts = parts or [pixels.sum() * 0]
        return loss + torch.stack(parts).sum() / len(samples)

    def object_loss(self, features: Tensor, gt: InstanceData) -> Tensor:
        """Compute the loss of segmenting objects by their mean feature.

        It has Mask2Former's terms and weights: 5 cross entropy of all
        pixels, 5 dice.

        Args:
            features (Tensor): (C, h, w) mask features of one scene.
            gt (InstanceData): n objects.
        """
        target = F.interpolate(
            gt.masks[:, None].float(), features.shape[-2:], mode='area'
        ).flatten(1)
        weights = target / target.sum(1, keepdim=True).clamp(min=1e-3)
        embeddings = self.to_mask(weights @ features.flatten(1).T)
        logits = embeddings @ features.flatten(1)
        bce = F.binary_cross_entropy_with_logits(logits, target)
        prob = logits.sigmoid()
        overlap = (prob * target).sum(1)
        dice = 1 - (2 * overlap + 1) / (prob.sum(1) + target.sum(1) + 1)
        return 5 * bce + 5 * dice.mean()


def pixel_loss(pixels: Tensor, gt: InstanceData) -> Tensor:
    """Compute the loss of class, offset and size of each pixel's object.

    Args:
        pixels (Tensor): (1 + C + 3, h, w) logits of background and classes,
            offsets (y, x) and logarithm of the size of one scene.
        gt (InstanceData): n >= 1 objects that do not overlap.

    Returns:
        Tensor: 4 cross entropy + 4 L1 of offsets + 1 L1 of sizes, a scalar.
        The size of an object is the root of its area in feature pixels.
    """
    height, width = pixels.shape[-2:]
    stride = gt.masks.shape[-1] // width
    masks = gt.masks[:, stride // 2 :: stride, stride // 2 :: stride]
    inside, index = masks.any(0), masks.float().argmax(0)
    classes = torch.where(inside, gt.labels[index] + 1, 0)
    grid = torch.stack(
        torch.meshgrid(
            torch.arange(height), torch.arange(width), indexing='ij'
        )
    ).float()
    area = masks.sum((1, 2)).clamp(min=1).float()
    centres = torch.einsum('nhw,chw->cn', masks.float(), grid) / area
    size = area.sqrt()
    offset = (centres[:, index] - grid) / size[index]
    share = inside / inside.sum().clamp(min=1)
    split = [len(pixels) - 3, 2, 1]
    logits, offsets, sizes = pixels.split(split)
    cross = F.cross_entropy(logits[None], classes[None])
    away = ((offsets - offset).abs().sum(0) * share).sum()
    scale = ((sizes[0] - size.log()[index]).abs() * share).sum()
    return 4 * cross + 4 * away + scale
