# SPDX-License-Identifier: Apache-2.0
"""Losses of all decoder layers and images at once, for MaskFormer's family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from mmdet.models.losses import CrossEntropyLoss
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmdet.models.task_modules.samplers import MaskPseudoSampler
from mmdet.utils import InstanceList, reduce_mean
from torch import Tensor, nn

from .batched_costs import MaskChunk
from .batched_matching import Matches, assign, matching_cost

#: Number of elements of the largest tensor that a step over layers makes, as
#: many layers at a time as fit, at least one. On a CPU, larger tensors exceed
#: the caches; on a GPU, more steps are more launches, and 128 MiB little.
MAX_ELEMENTS = dict(cpu=2**22, cuda=2**25)


@dataclass
class Targets:
    """Objects of a batch, one image after the other.

    Attributes:
        labels (tuple[Tensor, ...]): (n_b, ) int64 classes in each image.
        masks (tuple[Tensor, ...]): (n_b, H, W) masks in each image.
        weights (Tensor, optional): (T, ) fp32 weights, if an image has some.
        counts (list[int]): Number n_b of objects of each image.
    """

    labels: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    weights: Tensor | None
    counts: list[int]

    @classmethod
    def of(cls, items: InstanceList) -> Targets:
        """Collect the objects of all images.

        Args:
            items (list[InstanceData]): ``labels`` and ``masks`` of each
                image, and perhaps ``weights``, which are else 1.
        """
        weights = None
        if any('weights' in item for item in items):
            weights = torch.cat(
                [
                    item.weights.float()
                    if 'weights' in item
                    else torch.ones_like(item.labels, dtype=torch.float32)
                    for item in items
                ]
            )
        return cls(
            labels=tuple(item.labels for item in items),
            masks=tuple(item.masks for item in items),
            weights=weights,
            counts=[len(item.labels) for item in items],
        )


class BatchedLossesMixin:
    """Mixin that matches and computes losses for all layers at once.

    The losses are those of MMDet's head for equal points, but the host waits
    once, for the matching costs, and operators are called for all images of
    some layers; as many layers at a time as memory allows. MMDet's
    ``_get_targets_single`` and ``_loss_by_feat_single`` are not called: a
    subclass overrides the methods of this class.

    An object may have a weight (``weights``). It multiplies the
    classification, mask and dice loss of the query that is matched with the
    object; divisors and matching costs have no weights.

    Args:
        *args: Arguments of the head.
        **kwargs: Arguments of the head.

    Raises:
        ValueError: if the assigner, the sampler or the reduction of a loss is
            not the one that this class computes.

    Attributes:
        reads_weights (bool): True, so that pseudo-labels may have weights.
    """

    reads_weights = True

    if TYPE_CHECKING:
        assigner: Any
        sampler: Any
        class_weights: Tensor
        loss_cls: Any
        loss_dice: Any
        loss_mask: Any
        num_classes: int
        num_queries: int

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        assert isinstance(self, nn.Module)
        # On the device already; in no checkpoint.
        self.register_buffer(
            'class_weights',
            torch.tensor(self.class_weight, dtype=torch.float32),
            persistent=False,
        )
        for name in ('loss_cls', 'loss_mask', 'loss_dice'):
            reduction = getattr(self, name).reduction
            if reduction != 'mean':
                raise ValueError(
                    f"{name}.reduction must be 'mean', got {reduction!r}"
                )
        for name, kind in (
            ('assigner', HungarianAssigner),
            ('sampler', MaskPseudoSampler),
        ):
            part = getattr(self, name, None)
            if part is not None and type(part) is not kind:
                raise ValueError(
                    f'train_cfg.{name} must be a {kind.__name__}, which '
                    f'{type(self).__name__} computes for all layers at once; '
                    f'got {type(part).__name__}'
                )

    def loss_by_feat(
        self,
        all_cls_scores: Sequence[Tensor],
        all_mask_preds: Sequence[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """Compute the losses of all decoder layers in fp32.

        Args:
            all_cls_scores (Sequence[Tensor]): (B, Q, C + 1) class logits of
                each layer.
            all_mask_preds (Sequence[Tensor]): (B, Q, h, w) mask logits of
                each layer.
            batch_gt_instances (list[InstanceData]): Objects of each image,
                perhaps with ``weights``.
            batch_img_metas (list[dict]): Metainfo of each image.

        Returns:
            dict[str, Tensor]: Losses of all layers by MMDet's names.
        """
        device = all_cls_scores[0].device
        with torch.autocast(device.type, enabled=False):
            scores = torch.stack(list(all_cls_scores)).float()
            targets = Targets.of(batch_gt_instances)
            with torch.no_grad():
                cost = self.matching_costs(
                    scores, all_mask_preds, targets, batch_img_metas
                )
                matches = assign(cost, targets.counts, len(scores))
            weights = None
            if targets.weights is not None and cost is not None:
                weights = targets.weights[matches.targets]
            losses = (
                self.class_losses(scores, targets, matches, weights),
                *self.mask_losses(all_mask_preds, targets, matches, weights),
            )
        names = ('loss_cls', 'loss_mask', 'loss_dice')
        by_layer = [
            dict(zip(names, parts, strict=True))
            for parts in zip(*(loss.unbind() for loss in losses), strict=True)
        ]
        return by_layer[-1] | {
            f'd{layer}.{name}': value
            for layer, parts in enumerate(by_layer[:-1])
            for name, value in parts.items()
        }

    def count_objects(self, counts: Sequence[int]) -> int:
        """Return the number that divides the mask losses.

        MMDet counts the matched objects, and an image without any as one.

        Args:
            counts (Sequence[int]): Number of objects of each image.
        """
        return sum(max(1, min(n, self.num_queries)) for n in counts)

    def mask_divisor(self, counts: Sequence[int], device: torch.device) -> Any:
        """Average the number of objects over the processes, at least 1."""
        num = torch.full((), float(self.count_objects(counts)), device=device)
        return reduce_mean(num).clamp(min=1)

    def matching_costs(
        self,
        scores: Tensor,
        mask_preds: Sequence[Tensor],
        targets: Targets,
        img_metas: list[dict],
    ) -> Tensor | None:
        """Compute the matching costs of all layers and images.

        Args:
            scores (Tensor): (L, B, Q, C + 1) class logits.
            mask_preds (Sequence[Tensor]): L times (B, Q, h, w) mask logits.
            targets (Targets): Objects.
            img_metas (list[dict]): Metainfo of each image.

        Returns:
            Tensor | None: (L, B, Q, N) costs, where the columns after the
            objects of an image mean nothing; None without any object.
        """
        if not any(targets.counts):
            return None
        return matching_cost(
            self.assigner.match_costs,
            scores,
            targets.labels,
            self.matching_masks(mask_preds, targets),
            img_metas,
        )

    def class_losses(
        self,
        scores: Tensor,
        targets: Targets,
        matches: Matches,
        weights: Tensor | None,
    ) -> Tensor:
        """Compute the classification loss of each layer.

        Args:
            scores (Tensor): (L, B, Q, C + 1) class logits.
            targets (Targets): Objects.
            matches (Matches): Pairs of queries and objects.
            weights (Tensor, optional): (L, M) weights of the pairs.

        Returns:
            Tensor: (L, ) losses.
        """
        layers, classes = len(scores), scores.shape[-1]
        labels = torch.full(
            (layers, scores[0, ..., 0].numel()),
            self.num_classes,
            device=scores.device,
        )
        pair_weights = None
        if matches.queries.numel():
            matched = torch.cat(targets.labels)[matches.targets]
            labels.scatter_(1, matches.queries, matched)
            if weights is not None:
                pair_weights = torch.ones_like(labels, dtype=weights.dtype)
                pair_weights.scatter_(1, matches.queries, weights)
        class_weights = self.class_weights.float()
        flat = scores.reshape(-1, classes), labels.flatten()
        if is_plain_cross_entropy(self.loss_cls, use_sigmoid=False):
            # MMDet's would copy the class weights to the device.
            losses = F.cross_entropy(
                *flat, weight=class_weights, reduction='none'
            ).view_as(labels)
            losses = losses * self.loss_cls.loss_weight
        else:
            losses = self.loss_cls(*flat, reduction_override='none')
            losses = losses.reshape(*labels.shape, -1).sum(-1)
        if pair_weights is not None:
            losses = losses * pair_weights
        return layer_means(losses, class_weights[labels].sum(1))

    def matching_masks(
        self, mask_preds: Sequence[Tensor], targets: Targets
    ) -> Iterator[MaskChunk]:
        """Return the masks that the matching compares.

        Args:
            mask_preds (Sequence[Tensor]): L times (B, Q, h, w) mask logits.
            targets (Targets): Objects.

        Returns:
            Iterator[MaskChunk]: Masks of all layers, in order.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    def no_mask_losses(
        self, mask_preds: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return zeros that depend on every mask, as MMDet's without objects.

        Args:
            mask_preds (Sequence[Tensor]): L times (B, Q, h, w) mask logits.
        """
        zero = torch.stack([m[:, :0].float().sum() for m in mask_preds])
        return zero, zero


def is_plain_cross_entropy(loss: Any, use_sigmoid: bool) -> bool:
    """Return whether a loss is MMDet's cross entropy without ignored labels.

    Args:
        loss (nn.Module): Loss.
        use_sigmoid (bool): Whether it has to be the binary one.
    """
    return (
        type(loss) is CrossEntropyLoss
        and loss.use_sigmoid == use_sigmoid
        and not loss.use_mask
        and loss.ignore_index is None
    )


def layer_slices(
    layers: int, elements: int, device: torch.device
) -> list[slice]:
    """Cut layers into parts whose tensors are not too large.

    Args:
        layers (int): Number of layers.
        elements (int): Number of elements of the largest tensor of a layer.
        device (torch.device): Device of the tensors.

    Returns:
        list[slice]: As many layers at a time as fit, at least one.
    """
    most = MAX_ELEMENTS.get(device.type, MAX_ELEMENTS['cpu'])
    step = max(1, most // max(1, elements))
    return [slice(i, i + step) for i in range(0, layers, step)]


def layer_means(losses: Tensor, divisor: Tensor) -> Tensor:
    """Sum the (L, N) losses of each layer, and divide as MMDet does."""
    eps = torch.finfo(torch.float32).eps
    return losses.sum(1) / (divisor + eps)
