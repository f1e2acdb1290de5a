# SPDX-License-Identifier: Apache-2.0
"""Training on labels, pseudo-labels from a file and pixel contrast."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.detectors import Mask2Former
from mmdet.models.utils import rename_loss_dict, reweight_loss_dict
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import OptConfigType
from torch import Tensor, nn

from ..losses import PixelContrastiveLoss
from .distill_mask2former import record_output

#: Losses of a pass, features, and the mask and class logits of K queries.
Pass = tuple[dict[str, Tensor], Tensor, Tensor, Tensor]

# Mask logit of a query that an image does not have.
_NOWHERE = -1e4


class ContrastiveDistillMixin:
    """SSKD's objective for an MMDet detector: put it before it in the bases.

    ``J = L_sup(D_l) + semi_weight * L_semi(D_u) + L_pxl(D_l u D_u)``: the
    detector's own losses on labelled images (branch ``sup``) and on images
    with pseudo-labels from a file (branch ``unsup``), and a
    ``PixelContrastiveLoss`` between a weak view, which is the training
    pipeline's, and a strong one, which has other colours. There is no teacher
    in the model. A batch may lack a branch. Nothing of it runs in evaluation.

    Needs a ``SemiDataPreprocessor``, which gives pixels branch by branch.

    Args:
        loss_contrast (dict, optional): Config of the contrastive loss. None
            leaves the term out.
        strong_augment (dict, optional): A ``StrongAugment``: makes the strong
            view. Goes with ``loss_contrast``.
        sup_weight (float): Of the labelled images' losses.
        semi_weight (float): lambda_semi. Images whose weight is 0 still take
            part in the contrast, which reads no labels.

    Raises:
        ValueError: if a weight is negative, or one of ``loss_contrast`` and
            ``strong_augment`` is given alone.
    """

    def __init__(
        self,
        *args,
        loss_contrast: OptConfigType = None,
        strong_augment: OptConfigType = None,
        sup_weight: float = 1.0,
        semi_weight: float = 1.0,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if min(sup_weight, semi_weight) < 0:
            raise ValueError(
                'sup_weight and semi_weight must be >= 0, got '
                f'{sup_weight} and {semi_weight}'
            )
        if (loss_contrast is None) != (strong_augment is None):
            raise ValueError(
                'loss_contrast and strong_augment go together: the strong '
                'view is what the contrastive loss compares with'
            )
        self.loss_contrast: PixelContrastiveLoss | None = None
        self.strong_augment: nn.Module | None = None
        if loss_contrast is not None:
            self.loss_contrast = MODELS.build(loss_contrast)
            self.strong_augment = MODELS.build(strong_augment)
        self.branch_weights = dict(sup=sup_weight, unsup=semi_weight)

    @abstractmethod
    def loss_with_features(
        self, rgb: Tensor, batch_data_samples: SampleList
    ) -> Pass:
        """One pass over the weak view.

        Args:
            rgb (Tensor): (B, 3, H, W) in 0..255.
            batch_data_samples (list[DetDataSample]): with instances.

        Returns:
            tuple: losses, features (B, C, h, w) that cover the canvas, mask
            logits (B, K, h', w') and class logits (B, K, C + 1).
        """

    @abstractmethod
    def encode_features(self, rgb: Tensor) -> Tensor:
        """The encoder's features (B, C, h, w) of (B, 3, H, W) pixels."""

    def loss(
        self,
        multi_batch_inputs: dict[str, Tensor],
        multi_batch_data_samples: dict[str, SampleList],
    ) -> dict[str, Tensor]:
        """One iteration.

        Args:
            multi_batch_inputs (dict): ``sup`` and ``unsup``, each
                (B, 3, H, W) RGB in 0..255, or one of them.
            multi_batch_data_samples (dict): the same branches.

        Returns:
            dict[str, Tensor]: ``sup_*`` and ``unsup_*`` losses, and
            ``loss_contrast``.
        """
        losses, passes = {}, []
        for branch, weight in self.branch_weights.items():
            if branch not in multi_batch_inputs:
                continue
            if weight == 0 and self.loss_contrast is None:
                continue
            rgb = multi_batch_inputs[branch]
            samples = multi_batch_data_samples[branch]
            own, *predictions = self.loss_with_features(rgb, samples)
            losses.update(
                rename_loss_dict(f'{branch}_', reweight_loss_dict(own, weight))
            )
            passes.append((branch, rgb, samples, *predictions))
        if self.loss_contrast is not None:
            losses['loss_contrast'] = self._contrast(passes)
        return losses

    def _contrast(self, passes: Sequence[tuple]) -> Tensor:
        """L_pxl of all images of the step at once."""
        branches, pixels, samples, weak, masks, classes = zip(
            *passes, strict=True
        )
        canvas = tuple(pixels[0].shape[-2:])
        if any(tuple(rgb.shape[-2:]) != canvas for rgb in pixels):
            raise ValueError(
                'Labelled and pseudo-labelled images have other sizes in a '
                f'batch, {[tuple(rgb.shape[-2:]) for rgb in pixels]}: their '
                'pixels are compared, so crop or pad them to one size, e.g. '
                "data_preprocessor.batch_augments=[dict(type='BatchFixedSize"
                "Pad', size=(height, width))]."
            )
        rgb = torch.cat(pixels)
        with torch.no_grad():
            strong = self.encode_features(self.strong_augment(rgb))
        grid = tuple(strong.shape[-2:])
        gt_ids = None
        if self.loss_contrast.keep_statistics:
            gt_ids = torch.stack(
                [
                    object_grid(
                        sample.gt_instances.masks, canvas, grid, rgb.device
                    )
                    if branch == 'sup'
                    else torch.full(grid, -1, device=rgb.device)
                    for branch, group in zip(branches, samples, strict=True)
                    for sample in group
                ]
            )
        num_queries = max(m.shape[1] for m in masks)
        return self.loss_contrast(
            torch.cat(weak),
            strong,
            torch.cat([_pad_queries(m, num_queries, _NOWHERE) for m in masks]),
            torch.cat([_pad_queries(c, num_queries, 0.0) for c in classes]),
            valid_grid([*itertools.chain(*samples)], canvas, grid, rgb.device),
            gt_ids,
        )


def _pad_queries(x: Tensor, num_queries: int, value: float) -> Tensor:
    """(B, K, ...) with more queries, which are nowhere."""
    missing = num_queries - x.shape[1]
    return F.pad(x, (0, 0) * (x.dim() - 2) + (0, missing), value=value)


def valid_grid(
    batch_data_samples: SampleList,
    canvas: tuple[int, int],
    grid: tuple[int, int],
    device: torch.device,
) -> Tensor:
    """Which positions of a feature grid show the image, not its padding.

    A position counts if its centre lies in the image.

    Args:
        batch_data_samples (list[DetDataSample]): with ``img_shape``.
        canvas (tuple[int, int]): (H, W) in pixels that the grid covers.
        grid (tuple[int, int]): (h, w).
        device (torch.device): Of the result.

    Returns:
        Tensor: (B, h, w) bool.
    """
    sizes = torch.tensor([s.img_shape[:2] for s in batch_data_samples])
    sizes = sizes.to(device)
    rows, cols = (
        (torch.arange(n, device=device) + 0.5) * (length / n) < size[:, None]
        for n, length, size in zip(grid, canvas, sizes.unbind(1), strict=True)
    )
    return rows[:, :, None] & cols[:, None]


def canvas_masks(
    masks: BitmapMasks | Tensor, canvas: tuple[int, int], device: torch.device
) -> Tensor:
    """n masks of a canvas, or of its upper left part, as (n, H, W) bool."""
    if not isinstance(masks, Tensor):
        masks = masks.to_tensor(torch.bool, device)
    below, right = (
        c - m for c, m in zip(canvas, masks.shape[1:], strict=True)
    )
    return F.pad(masks.bool(), (0, right, 0, below))


def object_grid(
    masks: BitmapMasks | Tensor,
    canvas: tuple[int, int],
    grid: tuple[int, int],
    device: torch.device,
) -> Tensor:
    """The object at the centre of each position of a feature grid.

    Args:
        masks (BitmapMasks | Tensor): n masks of the canvas, or of its upper
            left part.
        canvas (tuple[int, int]): (H, W) in pixels that the grid covers.
        grid (tuple[int, int]): (h, w).
        device (torch.device): Of the result.

    Returns:
        Tensor: (h, w) int64, 0 the background, else 1 + the mask's index.
    """
    if len(masks) == 0:
        return torch.zeros(grid, dtype=torch.long, device=device)
    masks = canvas_masks(masks, canvas, device)
    rows, cols = (
        ((torch.arange(n, device=device) + 0.5) * (length / n)).long()
        for n, length in zip(grid, canvas, strict=True)
    )
    seen = masks[:, rows][:, :, cols]
    return torch.where(seen.any(0), 1 + seen.int().argmax(0), 0)


@MODELS.register_module()
class ContrastiveMask2Former(ContrastiveDistillMixin, Mask2Former):
    """Mask2Former that learns from labels, pseudo-labels and pixel contrast.

    The student of `SSKD <https://arxiv.org/abs/2604.03841>`_. A checkpoint
    has Mask2Former's keys, and those of the projection head below
    ``loss_contrast``.

    Args:
        feature_level (int): Output of the backbone that L_pxl is on; by
            default the last, coarsest one.
        **kwargs: Those of :class:`ContrastiveDistillMixin` and Mask2Former.
    """

    def __init__(self, *args, feature_level: int = -1, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.feature_level = feature_level

    def loss_with_features(
        self, rgb: Tensor, batch_data_samples: SampleList
    ) -> Pass:
        """See :class:`ContrastiveDistillMixin`."""
        with (
            record_output(self.backbone) as features,
            record_output(self.panoptic_head) as outputs,
        ):
            losses = super(ContrastiveDistillMixin, self).loss(
                self.data_preprocessor.normalize(rgb), batch_data_samples
            )
        cls_logits, mask_logits = (layers[-1] for layers in outputs[0])
        return losses, features[0][self.feature_level], mask_logits, cls_logits

    def encode_features(self, rgb: Tensor) -> Tensor:
        """The backbone's chosen level."""
        outs = self.backbone(self.data_preprocessor.normalize(rgb))
        return outs[self.feature_level]
