# SPDX-License-Identifier: Apache-2.0
"""MMDet's matching costs of masks for several layers and images.

Each of these costs is a product of a matrix of the queries and the masks of
the objects, and sums. Only these are computed for some layers at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import (
    CrossEntropyLossCost,
    DiceCost,
    FocalLossCost,
)
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class MaskChunk(NamedTuple):
    """Masks of some decoder layers at the points where they are compared.

    Attributes:
        layers (slice): Layers.
        logits (Tensor): (l, B, Q, P) mask logits.
        targets (list[Tensor]): (n_b, l, P) values in 0..1 of the masks of
            the objects of each image.
    """

    layers: slice
    logits: Tensor
    targets: list[Tensor]


class BatchedCost:
    """Collects the products of a cost chunk by chunk.

    Args:
        cost (BaseMatchCost): MMDet's cost, which has the options.
    """

    def __init__(self, cost: BaseMatchCost) -> None:
        self.cost: Any = cost
        self.num_points = 0
        self.products: list[list[Tensor]] = []
        self.sizes: list[Tensor] = []

    def add(self, chunk: MaskChunk, probs: Tensor) -> None:
        """Compute the products of one chunk.

        Args:
            chunk (MaskChunk): Masks of some layers.
            probs (Tensor): (l, B, Q, P) sigmoids of the mask logits.
        """
        matrix, size = self.terms(chunk.logits, probs)
        self.num_points = matrix.shape[-1]
        self.sizes.append(size)
        self.products.append(
            [
                torch.bmm(matrix[:, image], masks.permute(1, 2, 0))
                for image, masks in enumerate(chunk.targets)
            ]
        )

    def total(self) -> Tensor:
        """Return the (L, B, Q, N) costs of all chunks, times the weight."""
        products = pad_queries(self.products)
        sizes = torch.cat(self.sizes)[..., None]
        return self.combine(products, sizes) * self.cost.weight

    def terms(self, logits: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
        """Return a (l, B, Q, P) matrix and a (l, B, Q) sum of the queries."""
        raise NotImplementedError

    def combine(self, products: Tensor, sizes: Tensor) -> Tensor:
        """Make costs of (L, B, Q, N) products and (L, B, Q, 1) sums."""
        raise NotImplementedError


class BatchedCrossEntropyCost(BatchedCost):
    """Mean of softplus(x) - x t, the binary cross entropy of logits x."""

    def terms(self, logits: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
        """See the base class."""
        return logits, F.softplus(logits).sum(-1)

    def combine(self, products: Tensor, sizes: Tensor) -> Tensor:
        """See the base class."""
        return (sizes - products) / self.num_points


class BatchedFocalCost(BatchedCost):
    """Mean of t positive + (1 - t) negative focal loss."""

    def terms(self, logits: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
        """See the base class."""
        alpha, gamma = self.cost.alpha, self.cost.gamma
        eps, rest = self.cost.eps, 1 - probs
        positive = -(probs + eps).log() * alpha * rest.pow(gamma)
        negative = -(rest + eps).log() * (1 - alpha) * probs.pow(gamma)
        return positive - negative, negative.sum(-1)

    def combine(self, products: Tensor, sizes: Tensor) -> Tensor:
        """See the base class."""
        return (sizes + products) / self.num_points


class BatchedDiceCost(BatchedCost):
    """Dice cost; not naive means squares in the denominator."""

    def __init__(self, cost: BaseMatchCost) -> None:
        super().__init__(cost)
        self.target_sizes: list[list[Tensor]] = []

    def add(self, chunk: MaskChunk, probs: Tensor) -> None:
        """See the base class."""
        super().add(chunk, probs)
        # (n_b, l) as (l, 1, n_b).
        self.target_sizes.append(
            [self._size(masks).T[:, None] for masks in chunk.targets]
        )

    def terms(self, logits: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
        """See the base class."""
        pred = probs if self.cost.pred_act else logits
        return pred, self._size(pred)

    def combine(self, products: Tensor, sizes: Tensor) -> Tensor:
        """See the base class."""
        eps = self.cost.eps
        sizes = sizes + pad_queries(self.target_sizes)
        return 1 - (2 * products + eps) / (sizes + eps)

    def _size(self, masks: Tensor) -> Tensor:
        return (masks if self.cost.naive_dice else masks.square()).sum(-1)


class EachCost(BatchedCost):
    """Any cost, which is called for each layer and image.

    Args:
        cost (BaseMatchCost): MMDet's or a user's cost.
        scores (Tensor): (L, B, Q, C + 1) class logits.
        labels (Sequence[Tensor]): (n_b, ) int64 classes in each image.
        img_metas (Sequence[dict]): Metainfo of each image.
    """

    def __init__(
        self,
        cost: BaseMatchCost,
        scores: Tensor,
        labels: Sequence[Tensor],
        img_metas: Sequence[dict],
    ) -> None:
        super().__init__(cost)
        self.scores, self.labels, self.img_metas = scores, labels, img_metas

    def add(self, chunk: MaskChunk, probs: Tensor) -> None:
        """See the base class."""
        scores = self.scores[chunk.layers]
        self.products.append(
            [
                torch.stack(
                    [
                        self._call(
                            scores[i, image], logits, image, masks[:, i]
                        )
                        for i, logits in enumerate(chunk.logits[:, image])
                    ]
                )
                for image, masks in enumerate(chunk.targets)
            ]
        )

    def total(self) -> Tensor:
        """See the base class; the cost has multiplied its weight."""
        return pad_queries(self.products)

    def _call(
        self, scores: Tensor, logits: Tensor, image: int, masks: Tensor
    ) -> Tensor:
        if not len(masks):
            return scores.new_zeros(len(scores), 0)
        return self.cost(
            pred_instances=InstanceData(scores=scores, masks=logits),
            gt_instances=InstanceData(labels=self.labels[image], masks=masks),
            img_meta=self.img_metas[image],
        )


def batch_cost(
    cost: BaseMatchCost,
    scores: Tensor,
    labels: Sequence[Tensor],
    img_metas: Sequence[dict],
) -> BatchedCost:
    """Return the batched counterpart of a cost.

    Args:
        cost (BaseMatchCost): MMDet's or a user's cost.
        scores (Tensor): (L, B, Q, C + 1) class logits.
        labels (Sequence[Tensor]): (n_b, ) int64 classes in each image.
        img_metas (Sequence[dict]): Metainfo of each image.

    Returns:
        BatchedCost: One that is empty.
    """
    # A subclass may compute something else.
    kind = type(cost)
    if kind is CrossEntropyLossCost and cost.use_sigmoid:
        return BatchedCrossEntropyCost(cost)
    if kind is DiceCost:
        return BatchedDiceCost(cost)
    if kind is FocalLossCost and cost.binary_input:
        return BatchedFocalCost(cost)
    return EachCost(cost, scores, labels, img_metas)


def pad_queries(parts: Sequence[Sequence[Tensor]]) -> Tensor:
    """Join the values of chunks, and of images with different objects.

    Args:
        parts (Sequence[Sequence[Tensor]]): (l, Q, n_b) values of each image
            of each chunk.

    Returns:
        Tensor: (L, B, Q, N) values, N the largest n_b; 0 elsewhere.
    """
    images = [torch.cat(image) for image in zip(*parts, strict=True)]
    padded = pad_sequence(
        [image.permute(2, 0, 1) for image in images], batch_first=True
    )
    return padded.permute(2, 0, 3, 1)
