# SPDX-License-Identifier: Apache-2.0
"""Pseudo-label refinement with a promptable segmenter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from torch import Tensor, nn

from s4m.structures.masks import (
    masks_at_image_size,
    paired_iou,
    upsample_masks,
)

from ..promptable import attach_segmenter, best_mask

_SAMPLINGS = ('softmax', 'in_mask')


def sample_mask_points(
    mask_logits: Tensor, num_points: int, point_sampling: str
) -> tuple[Tensor, Tensor]:
    """Draw distinct pixels of each mask without replacement.

    ``softmax`` draws with probability softmax(logits) over the whole map
    [released code]; ``in_mask`` proportionally to sigmoid(logits) inside the
    binary mask and never outside [paper]. Both use Gumbel top-k, which equals
    sequential draws without replacement and, unlike ``torch.multinomial``,
    cannot return pixels of probability zero unnoticed. Where a mask has fewer
    pixels than points, the found ones are repeated.

    Args:
        mask_logits (Tensor): (N, h, w).
        num_points (int): K.
        point_sampling (str): ``softmax`` or ``in_mask``.

    Returns:
        tuple[Tensor, Tensor]: (N, K) int64 flat pixel indices and (N, ) bool,
        false where a mask has no pixel to draw.
    """
    logits = mask_logits.float().flatten(1)
    if point_sampling == 'softmax':
        log_prob = logits
    else:
        outside = logits <= 0
        log_prob = F.logsigmoid(logits).masked_fill(outside, -torch.inf)
    # Keys of -inf stay -inf: a pixel outside never beats one inside.
    gumbel = -torch.log(-torch.log(_open_uniform(log_prob)))
    k = min(num_points, log_prob.shape[1])
    keys, index = (log_prob + gumbel).topk(k, dim=1)
    found = keys > -torch.inf
    num_found = found.sum(1, keepdim=True)
    order = torch.arange(num_points, device=index.device).expand(
        len(index), -1
    )
    order = order % num_found.clamp(min=1)
    return index.gather(1, order), num_found[:, 0] > 0


def _open_uniform(like: Tensor) -> Tensor:
    """Uniform in (0, 1), both ends excluded, so that Gumbel is finite."""
    tiny = torch.finfo(like.dtype).tiny
    eps = torch.finfo(like.dtype).eps
    return torch.rand_like(like).clamp(tiny, 1 - eps)


@MODELS.register_module()
class PseudoLabelRefiner(nn.Module):
    """Replaces pseudo-masks by what a segmenter sees there.

    `S4M <https://arxiv.org/abs/2504.05301>`_, pseudo-label refinement: K
    points are drawn from each pseudo-mask and prompt the segmenter together;
    of its hypotheses the one with the highest predicted IoU becomes the mask,
    the class stays. All masks of all images are refined in one batch.

    Args:
        segmenter (dict): Config of a promptable segmenter. The
            ``PseudoLabelRefineHook`` builds and attaches it.
        num_points (int): K, positive points per mask.
        point_sampling (str): ``softmax`` [released] or ``in_mask`` [paper];
            see :func:`sample_mask_points`.
        min_iou (float): Keep the teacher's mask where its IoU with the
            refined one is lower. 0 never does [both].
        min_predicted_iou (float): Keep the teacher's mask where the segmenter
            predicts a lower IoU. 0 never does [both].

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        segmenter: dict,
        num_points: int = 3,
        point_sampling: str = 'softmax',
        min_iou: float = 0.0,
        min_predicted_iou: float = 0.0,
    ) -> None:
        super().__init__()
        if num_points < 1:
            raise ValueError(f'num_points must be >= 1, got {num_points}')
        if point_sampling not in _SAMPLINGS:
            raise ValueError(
                f'point_sampling must be one of {_SAMPLINGS}, '
                f'got {point_sampling!r}'
            )
        for name, value in (
            ('min_iou', min_iou),
            ('min_predicted_iou', min_predicted_iou),
        ):
            if not 0 <= value <= 1:
                raise ValueError(f'{name} must be in 0..1, got {value}')
        self.segmenter_cfg = segmenter
        attach_segmenter(self, None)
        self.num_points = num_points
        self.point_sampling = point_sampling
        self.min_iou = min_iou
        self.min_predicted_iou = min_predicted_iou

    @torch.no_grad()
    def forward(self, rgb: Tensor, instances: InstanceList) -> InstanceList:
        """Refine the pseudo-labels of a batch.

        Args:
            rgb (Tensor): (B, 3, H, W) teacher's view, RGB in 0..255.
            instances (list[InstanceData]): with ``mask_logits`` (n, h, w)
                that cover the same canvas, and the teacher's ``masks`` at
                (h, w) or already at (H, W).

        Returns:
            list[InstanceData]: the same objects, with ``masks`` (n, H, W)
            bool and two more fields: ``refine_iou`` (n, ), the IoU of the
            teacher's mask and the segmenter's at (h, w), and ``refined``
            (n, ), false where the teacher's mask was kept.
        """
        if self.segmenter is None:
            raise RuntimeError(
                'PseudoLabelRefiner has no segmenter: add '
                "dict(type='PseudoLabelRefineHook') to custom_hooks."
            )
        canvas = tuple(rgb.shape[-2:])
        counts = [len(item) for item in instances]
        mask_logits = torch.cat([item.mask_logits for item in instances])
        image_ids = torch.repeat_interleave(
            torch.arange(len(counts)), torch.tensor(counts)
        ).to(rgb.device)
        masks, refine_iou, refined = self._refine(
            rgb, mask_logits, image_ids, canvas
        )
        for item, *fields in zip(
            instances,
            masks.split(counts),
            refine_iou.split(counts),
            refined.split(counts),
            strict=True,
        ):
            new, item.refine_iou, item.refined = fields
            new[~item.refined] = masks_at_image_size(
                item[~item.refined], canvas
            )
            item.masks = new
        return instances

    def _refine(
        self,
        rgb: Tensor,
        mask_logits: Tensor,
        image_ids: Tensor,
        canvas: tuple[int, int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        if len(mask_logits) == 0:
            none = mask_logits.new_zeros(0)
            return none.new_zeros((0, *canvas)).bool(), none, none.bool()
        height, width = mask_logits.shape[-2:]
        index, promptable = sample_mask_points(
            mask_logits, self.num_points, self.point_sampling
        )
        points = torch.stack(
            [
                (index % width) * (canvas[1] / width),
                (index // width) * (canvas[0] / height),
            ],
            dim=-1,
        )
        embeddings = self.segmenter.encode(rgb)
        logits, predicted_iou = best_mask(
            *self.segmenter.decode(embeddings, image_ids, points=points)
        )
        masks = upsample_masks(logits, canvas)
        seen = F.interpolate(
            masks[:, None].byte(), (height, width), mode='nearest'
        )[:, 0].bool()
        refine_iou = paired_iou(seen, mask_logits > 0)
        refined = promptable & (refine_iou >= self.min_iou)
        refined &= predicted_iou >= self.min_predicted_iou
        return masks, refine_iou, refined
