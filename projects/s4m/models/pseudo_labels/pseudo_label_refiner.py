# SPDX-License-Identifier: Apache-2.0
"""Pseudo-label refinement with a promptable segmenter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from s4m.structures import replace_fields
from s4m.structures.masks import (
    mask_nms,
    masks_at_image_size,
    paired_iou,
    resize_masks,
    spatial_size,
    upsample_masks,
)
from s4m.structures.selection import kept_indices
from s4m.utils.transfers import image_indices

from ..promptable import SegmenterOwner, best_mask
from .pseudo_labeler import check_iou_thr

_SAMPLINGS = ('softmax', 'in_mask')


def sample_mask_points(
    mask_logits: Tensor, points_per_mask: int, point_sampling: str
) -> tuple[Tensor, Tensor]:
    """Draw distinct pixels of each mask without replacement.

    ``softmax`` draws with probability softmax(logits) over the whole map
    [released code]; ``in_mask`` draws with a probability proportional to
    sigmoid(logits) inside the binary mask only [paper]. Both use Gumbel
    top-k, which equals sequential draws without replacement and, unlike
    ``torch.multinomial``, shows which draws had the probability 0. Where a
    mask has fewer pixels than points, its pixels are repeated.

    Args:
        mask_logits (Tensor): (N, h, w) logits of N masks.
        points_per_mask (int): Number K of points.
        point_sampling (str): ``softmax`` or ``in_mask``.

    Returns:
        tuple[Tensor, Tensor]: (N, K) int64 flat pixel indices and (N, ) bool,
        false where a mask has no pixel to draw.

    Example:
        >>> logits = torch.full((1, 2, 2), -1.0)
        >>> logits[0, 1, 0] = 1.0
        >>> sample_mask_points(logits, 3, 'in_mask')
        (tensor([[2, 2, 2]]), tensor([True]))
    """
    logits = mask_logits.float().flatten(1)
    if point_sampling == 'softmax':
        log_prob = logits
    else:
        outside = logits <= 0
        log_prob = F.logsigmoid(logits).masked_fill(outside, -torch.inf)
    # Keys of -inf stay -inf, so a pixel outside never precedes one inside.
    gumbel = -torch.log(-torch.log(_open_uniform(log_prob)))
    k = min(points_per_mask, log_prob.shape[1])
    keys, index = (log_prob + gumbel).topk(k, dim=1)
    num_valid = (keys > -torch.inf).sum(1, keepdim=True)
    order = torch.arange(points_per_mask, device=index.device).expand(
        len(index), -1
    )
    order = order % num_valid.clamp(min=1)
    return index.gather(1, order), num_valid[:, 0] > 0


def _open_uniform(like: Tensor) -> Tensor:
    """Draw from (0, 1) without its ends, so that Gumbel noise is finite."""
    tiny = torch.finfo(like.dtype).tiny
    eps = torch.finfo(like.dtype).eps
    return torch.rand_like(like).clamp(tiny, 1 - eps)


@MODELS.register_module()
class PseudoLabelRefiner(SegmenterOwner):
    """Replaces the masks of pseudo-labels by those of a segmenter.

    This is the pseudo-label refinement of `S4M
    <https://arxiv.org/abs/2504.05301>`_: K points are drawn from each mask
    and together prompt the segmenter. Its hypothesis with the highest
    predicted IoU becomes the mask; the class does not change. All masks of
    all images are refined in one batch. By default no pseudo-label is
    removed; the options ``min_refine_iou`` and ``nms_iou_thr`` remove some,
    in this order.

    Args:
        segmenter (dict): Config of a promptable segmenter, see
            :class:`~s4m.models.promptable.SegmenterOwner`.
        points_per_mask (int): Number K of positive points of each mask.
            Defaults to 3.
        point_sampling (str): ``softmax`` [released code] or ``in_mask``
            [paper], see :func:`sample_mask_points`. Defaults to ``softmax``.
        min_refine_iou (float): IoU of the teacher's and the segmenter's mask
            that a pseudo-label needs to stay. Defaults to 0, which keeps all.
        nms_iou_thr (float, optional): IoU of refined masks above which the
            pseudo-label with the lower score is a duplicate: two prompts that
            give one mask are one object. Defaults to None, which keeps
            duplicates.
        weight_by_iou (bool): Whether ``refine_iou`` weights the
            pseudo-labels in the student's losses, multiplied by the weights
            of the labeller where it gave some. Defaults to False.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> segmenter = dict(type='SAM2Segmenter', config='nano_sam2',
        ...                  checkpoint='nano_sam2')
        >>> refiner = MODELS.build(
        ...     dict(type='PseudoLabelRefiner', segmenter=segmenter))
        >>> refiner.points_per_mask, refiner.has_segmenter
        (3, False)
    """

    def __init__(
        self,
        segmenter: ConfigType,
        points_per_mask: int = 3,
        point_sampling: str = 'softmax',
        min_refine_iou: float = 0.0,
        nms_iou_thr: float | None = None,
        weight_by_iou: bool = False,
    ) -> None:
        super().__init__()
        if points_per_mask < 1:
            raise ValueError(
                f'points_per_mask must be >= 1, got {points_per_mask}'
            )
        if point_sampling not in _SAMPLINGS:
            raise ValueError(
                f'point_sampling must be one of {_SAMPLINGS}, '
                f'got {point_sampling!r}'
            )
        if min_refine_iou is None:
            raise ValueError('min_refine_iou must be in 0..1, got None')
        check_iou_thr('min_refine_iou', min_refine_iou)
        check_iou_thr('nms_iou_thr', nms_iou_thr)
        self.configure_segmenter(segmenter)
        self.points_per_mask = points_per_mask
        self.point_sampling = point_sampling
        self.min_refine_iou = min_refine_iou
        self.nms_iou_thr = nms_iou_thr
        self.weight_by_iou = weight_by_iou

    @torch.no_grad()
    def forward(self, rgb: Tensor, instances: InstanceList) -> InstanceList:
        """Refine the pseudo-labels of a batch.

        Args:
            rgb (Tensor): (B, 3, H, W) views of the teacher, RGB in 0..255.
            instances (list[InstanceData]): Pseudo-labels with ``mask_logits``
                (n, h, w) that cover the padded image, and the teacher's
                ``masks`` at (h, w) or already at (H, W).

        Returns:
            list[InstanceData]: New objects with ``masks`` (n, H, W) bool and
            two more fields: ``refine_iou`` (n, ), the IoU of the teacher's
            mask and the segmenter's at (h, w), and ``refined`` (n, ) bool,
            false where no point could prompt the segmenter and the mask is
            still the teacher's. With a threshold, n may be smaller.
        """
        image_size = spatial_size(rgb)
        counts = [len(item) for item in instances]
        mask_logits = torch.cat([item.mask_logits for item in instances])
        image_ids = image_indices(counts, rgb.device)
        fields = self._refine(rgb, mask_logits, image_ids, image_size)
        out = []
        for item, masks, iou, refined in zip(
            instances, *(f.split(counts) for f in fields), strict=True
        ):
            # Softmax draws points from every mask.
            if self.point_sampling != 'softmax':
                masks = masks.where(
                    refined[:, None, None],
                    masks_at_image_size(item, image_size),
                )
            out.append(
                self._weighted(
                    replace_fields(
                        item, masks=masks, refine_iou=iou, refined=refined
                    )
                )
            )
        return self._select(out)

    def _weighted(self, item: InstanceData) -> InstanceData:
        """Weight new pseudo-labels, where the option says so."""
        if self.weight_by_iou:
            weights = item.get('weights', torch.ones_like(item.refine_iou))
            item.weights = weights * item.refine_iou
        return item

    def _select(self, instances: InstanceList) -> InstanceList:
        """Remove refined pseudo-labels, where options say so."""
        if self.min_refine_iou == 0 and self.nms_iou_thr is None:
            return instances
        keep = []
        for item in instances:
            # What the segmenter contradicts does not suppress other masks.
            stays = item.refine_iou >= self.min_refine_iou
            if self.nms_iou_thr is not None:
                stays = mask_nms(
                    item.masks, item.scores, self.nms_iou_thr, stays
                )
            keep.append(stays)
        return [
            item[index]
            for item, index in zip(instances, kept_indices(keep), strict=True)
        ]

    def _refine(
        self,
        rgb: Tensor,
        mask_logits: Tensor,
        image_ids: Tensor,
        image_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Segment the masks again.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.
            mask_logits (Tensor): (N, h, w) logits of the teacher's masks.
            image_ids (Tensor): (N, ) int64 index of each mask's image.
            image_size (tuple[int, int]): (H, W) of the padded images.

        Returns:
            tuple: (N, H, W) bool masks of the segmenter, their (N, ) IoUs
            with the teacher's, and (N, ) bool, whether there was a prompt.
        """
        if len(mask_logits) == 0:
            none = mask_logits.new_zeros(0)
            return none.new_zeros((0, *image_size)).bool(), none, none.bool()
        height, width = mask_logits.shape[-2:]
        index, promptable = sample_mask_points(
            mask_logits, self.points_per_mask, self.point_sampling
        )
        points = torch.stack(
            [
                (index % width) * (image_size[1] / width),
                (index // width) * (image_size[0] / height),
            ],
            dim=-1,
        )
        segmenter = self.segmenter_on(rgb.device)
        embeddings = segmenter.encode(rgb)
        logits, _ = best_mask(
            *segmenter.decode(embeddings, image_ids, points=points)
        )
        masks = upsample_masks(logits, image_size)
        iou = paired_iou(resize_masks(masks, (height, width)), mask_logits > 0)
        return masks, iou, promptable
