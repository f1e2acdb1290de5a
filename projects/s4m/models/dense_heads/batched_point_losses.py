# SPDX-License-Identifier: Apache-2.0
"""Losses of Mask2Former, at points, of all decoder layers at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .batched_costs import MaskChunk
from .batched_losses import (
    BatchedLossesMixin,
    Targets,
    is_plain_cross_entropy,
    layer_means,
    layer_slices,
)
from .batched_matching import Matches
from .mask_points import (
    channels_at,
    mask_values_at,
    masks_at_a_time,
    random_points,
    uncertain_points,
    values_at,
)


class BatchedPointLossesMixin(BatchedLossesMixin):
    """Mixin for MMDet's ``Mask2FormerHead``; see :class:`BatchedLossesMixin`.

    The points of the matching are drawn for each layer and image, those of
    the losses for each pair of a query and an object, as in MMDet.

    Example:
        >>> from mmdet.models.dense_heads import Mask2FormerHead
        >>> class Head(BatchedPointLossesMixin, Mask2FormerHead):
        ...     pass
    """

    num_points: int
    oversample_ratio: float
    importance_sample_ratio: float

    def matching_masks(
        self, mask_preds: Sequence[Tensor], targets: Targets
    ) -> Iterator[MaskChunk]:
        """Draw points for each layer and image, and read the masks there.

        Args:
            mask_preds (Sequence[Tensor]): L times (B, Q, h, w) mask logits.
            targets (Targets): Objects.

        Yields:
            MaskChunk: Masks of some layers.
        """
        layers, (batch, queries, *_) = len(mask_preds), mask_preds[0].shape
        points = random_points(
            layers, batch, self.num_points, device=mask_preds[0].device
        )
        # A mask is read for all layers, since it has to be converted.
        values = [
            mask_values_at(
                masks, points[:, image].reshape(1, -1, 2).expand(n, -1, -1)
            ).unflatten(1, (layers, -1))
            if n
            else points.new_zeros(0, layers, self.num_points)
            for image, (masks, n) in enumerate(
                zip(targets.masks, targets.counts, strict=True)
            )
        ]
        elements = batch * queries * self.num_points
        for some in layer_slices(layers, elements, points.device):
            logits = torch.stack(
                [
                    channels_at(layer.float(), where)
                    for layer, where in zip(
                        mask_preds[some], points[some], strict=True
                    )
                ]
            )
            yield MaskChunk(some, logits, [v[:, some] for v in values])

    def mask_losses(
        self,
        mask_preds: Sequence[Tensor],
        targets: Targets,
        matches: Matches,
        weights: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Compute the mask and the dice loss of each layer.

        Args:
            mask_preds (Sequence[Tensor]): L times (B, Q, h, w) mask logits.
            targets (Targets): Objects.
            matches (Matches): Pairs of queries and objects.
            weights (Tensor, optional): (L, M) weights of the pairs.

        Returns:
            tuple[Tensor, Tensor]: (L, ) mask losses and (L, ) dice losses.
        """
        layers, pairs = matches.queries.shape
        divisor = self.mask_divisor(targets.counts, mask_preds[0].device)
        if not pairs:
            return self.no_mask_losses(mask_preds)
        matched, points = self._draw_points(mask_preds, matches)
        with torch.no_grad():
            values = self._target_values(points, targets, matches)
        sizes = [len(masks) for masks in matched]
        parts = [
            self.pair_losses(values_at(masks, where), value)
            for masks, where, value in zip(
                matched, points.split(sizes), values.split(sizes), strict=True
            )
        ]
        mask, dice = (
            torch.cat(part).unflatten(0, (layers, -1))
            for part in zip(*parts, strict=True)
        )
        if weights is not None:
            mask, dice = mask * weights, dice * weights
        return (
            layer_means(mask, divisor * self.num_points),
            layer_means(dice, divisor),
        )

    def pair_losses(
        self, preds: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the losses of pairs of a query and an object.

        Args:
            preds (Tensor): (N, P) mask logits.
            values (Tensor): (N, P) values of the objects' masks.

        Returns:
            tuple[Tensor, Tensor]: (N, ) mask losses, summed over the points,
            and (N, ) dice losses.
        """
        dice = self.loss_dice(preds, values, reduction_override='none')
        loss = self.loss_mask
        is_plain = is_plain_cross_entropy(loss, use_sigmoid=True)
        if is_plain and loss.class_weight is None:
            # MMDet's would keep a weight of each point for the gradient.
            mask = F.binary_cross_entropy_with_logits(
                preds, values, reduction='none'
            )
            return mask.sum(1) * loss.loss_weight, dice
        mask = loss(
            preds.flatten(), values.flatten(), reduction_override='none'
        )
        return mask.reshape(len(preds), -1).sum(1), dice

    def _draw_points(
        self, mask_preds: Sequence[Tensor], matches: Matches
    ) -> tuple[list[Tensor], Tensor]:
        """Draw points for each pair, most of them where its mask is uncertain.

        Args:
            mask_preds (Sequence[Tensor]): L times (B, Q, h, w) mask logits.
            matches (Matches): Pairs of queries and objects.

        Returns:
            tuple: (l x M, h, w) masks of the pairs of some layers at a time,
            with gradients, and the (L x M, P, 2) points of all.
        """
        layers, pairs = matches.queries.shape
        num_candidates = int(self.num_points * self.oversample_ratio)
        matched = [
            torch.cat(
                [
                    layer.flatten(0, 1).index_select(0, index)
                    for layer, index in zip(
                        mask_preds[some], matches.queries[some], strict=True
                    )
                ]
            ).float()
            # Two coordinates of each candidate.
            for some in layer_slices(
                layers, 2 * pairs * num_candidates, mask_preds[0].device
            )
        ]
        points = torch.cat(
            [
                uncertain_points(
                    masks.detach(),
                    self.num_points,
                    self.oversample_ratio,
                    self.importance_sample_ratio,
                )
                for masks in matched
            ]
        )
        return matched, points

    def _target_values(
        self, points: Tensor, targets: Targets, matches: Matches
    ) -> Tensor:
        """Read the objects' masks at the (L x M, P, 2) points of the pairs."""
        layers = len(matches.queries)
        points = points.unflatten(0, (layers, -1))
        every = torch.arange(layers, device=points.device)
        parts = []
        for masks, slots in zip(
            targets.masks,
            matches.slots.split(targets.counts, dim=1),
            strict=True,
        ):
            if not len(masks):
                continue
            step = masks_at_a_time(masks)
            parts += [
                mask_values_at(some, points[every, slot].flatten(1, 2))
                for some, slot in zip(
                    masks.split(step), slots.T.split(step), strict=True
                )
            ]
        values = torch.cat(parts).unflatten(1, (layers, -1))
        return values[matches.targets, every[:, None]].flatten(0, 1)
