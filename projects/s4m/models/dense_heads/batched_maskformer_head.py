# SPDX-License-Identifier: Apache-2.0
"""MaskFormer head that matches all decoder layers and images at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import MaskFormerHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from torch import Tensor

from .batched_costs import MaskChunk
from .batched_losses import (
    BatchedLossesMixin,
    Targets,
    layer_slices,
)
from .batched_matching import Matches


@MODELS.register_module()
class BatchedMaskFormerHead(BatchedLossesMixin, MaskFormerHead):
    """MaskFormer head with the losses of MMDet's, and fewer calls.

    Parameters, keys and losses are those of MMDet's ``MaskFormerHead``. The
    losses are computed in fp32, also inside autocast.

    Args:
        *args: Arguments of MMDet's ``MaskFormerHead``.
        **kwargs: Arguments of MMDet's ``MaskFormerHead``.
    """

    def preprocess_gt(
        self, batch_gt_instances: InstanceList, batch_gt_semantic_segs: list
    ) -> InstanceList:
        """Convert objects as MMDet does, and keep their weights.

        Args:
            batch_gt_instances (list[InstanceData]): Objects of each image.
            batch_gt_semantic_segs (list): Stuff of each image, or None.

        Returns:
            list[InstanceData]: ``labels`` (n, ), ``masks`` (n, H, W) and
            perhaps ``weights``.
        """
        items = super().preprocess_gt(
            batch_gt_instances, batch_gt_semantic_segs
        )
        for item, gt in zip(items, batch_gt_instances, strict=True):
            if 'weights' in gt:
                item.weights = gt.weights
        return items

    def matching_masks(
        self, mask_preds: Sequence[Tensor], targets: Targets
    ) -> Iterator[MaskChunk]:
        """Compare all pixels of the mask logits; see the base class."""
        layers, (batch, queries, *size) = len(mask_preds), mask_preds[0].shape
        values = [
            F.interpolate(masks[:, None].float(), tuple(size)).flatten(1)
            if len(masks)
            else mask_preds[0].new_zeros(0, size[0] * size[1]).float()
            for masks in targets.masks
        ]
        elements = batch * queries * size[0] * size[1]
        for some in layer_slices(layers, elements, mask_preds[0].device):
            logits = torch.stack(
                [layer.detach().float() for layer in mask_preds[some]]
            ).flatten(3)
            yield MaskChunk(
                some,
                logits,
                [v[:, None].expand(-1, len(logits), -1) for v in values],
            )

    def mask_losses(
        self,
        mask_preds: Sequence[Tensor],
        targets: Targets,
        matches: Matches,
        weights: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Compare all pixels of the objects' masks; see the base class."""
        divisor = self.mask_divisor(targets.counts, mask_preds[0].device)
        if not matches.queries.numel():
            return self.no_mask_losses(mask_preds)
        # MMDet's are int64, of which only one layer's are kept.
        masks = torch.cat([masks.bool() for masks in targets.masks])
        height, width = masks.shape[1:]
        losses = []
        # Masks at full size are large: one layer at a time.
        for i, layer in enumerate(mask_preds):
            pairs = layer.flatten(0, 1).index_select(0, matches.queries[i])
            preds = F.interpolate(
                pairs.float()[:, None],
                (height, width),
                mode='bilinear',
                align_corners=False,
            )[:, 0]
            wanted = masks.index_select(0, matches.targets[i]).long()
            weight = pixel_weight = None
            if weights is not None:
                weight = weights[i]
                pixel_weight = weight[:, None].expand(-1, height * width)
                pixel_weight = pixel_weight.flatten()
            dice = self.loss_dice(preds, wanted, weight, avg_factor=divisor)
            # The class 0 of MMDet's focal loss is the foreground.
            mask = self.loss_mask(
                preds.reshape(-1, 1),
                1 - wanted.reshape(-1),
                pixel_weight,
                avg_factor=divisor * (height * width),
            )
            losses.append(torch.stack([mask, dice]))
        mask, dice = torch.stack(losses, dim=1)
        return mask, dice
