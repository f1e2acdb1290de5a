# SPDX-License-Identifier: Apache-2.0
"""Training on labels, pseudo-labels from a file and pixel contrast."""

from __future__ import annotations

import itertools
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.utils import rename_loss_dict
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import OptConfigType
from torch import Tensor, nn

from s4m.structures.masks import pad_masks, spatial_size
from s4m.utils.transfers import to_device

from ..losses import FeatureGrid, PixelContrastiveLoss
from .loss_dicts import AddedLossesMixin, scale_losses

#: Losses of a pass, features, and the mask and class logits of K queries; the
#: last three may be None where no contrastive loss needs them.
Pass = tuple[dict[str, Tensor], Tensor | None, Tensor | None, Tensor | None]

#: Mask logit of padded queries, whose mask is empty.
NOWHERE = -1e4


class ContrastiveSelfTrainingMixin(AddedLossesMixin, metaclass=ABCMeta):
    """Mixin that adds SSKD's objective to an MMDet detector.

    List it before the detector:
    ``class X(ContrastiveSelfTrainingMixin, Mask2Former)``.

    ``J = L_sup(D_l) + semi_weight * L_semi(D_u) + L_pxl(D_l u D_u)`` is the
    sum of the detector's losses on labelled images (branch ``sup``), of its
    losses on images with pseudo-labels from a file (branch ``unsup``), and of
    a ``PixelContrastiveLoss`` between a weak view, which comes from the
    training pipeline, and a strong view, which has other colours. The model
    contains no teacher. A batch may lack a branch. Evaluation is that of the
    detector.

    The detector needs a ``SemiDataPreprocessor``, which gives the pixels of
    each branch.

    Args:
        *args: Arguments of the detector.
        loss_contrast (dict, optional): Config of the contrastive loss.
            Defaults to None, which leaves the term out.
        strong_augment (dict, optional): Config of the part that creates the
            strong view, such as ``StrongAugment``; needed with
            ``loss_contrast``.
        sup_weight (float): Weight of the losses on labelled images. Defaults
            to 1.
        semi_weight (float): Weight lambda_semi of the losses on
            pseudo-labelled images. Images whose weight is 0 still enter the
            contrastive loss, which reads no labels. Defaults to 1.
        joint (bool): Whether all images of a batch go through the detector in
            one pass, whose losses have one normaliser, so that each object
            has the same weight, and no prefix in their names. It needs equal
            weights, and is necessary where a batch may lack a branch and
            several processes train. False runs one pass with one normaliser
            for each branch. Defaults to False.
        **kwargs: Arguments of the detector.

    Raises:
        ValueError: if a weight is negative, ``joint`` comes with two
            weights, or one of ``loss_contrast`` and ``strong_augment`` is
            given alone.
    """

    def __init__(
        self,
        *args,
        loss_contrast: OptConfigType = None,
        strong_augment: OptConfigType = None,
        sup_weight: float = 1.0,
        semi_weight: float = 1.0,
        joint: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if min(sup_weight, semi_weight) < 0:
            raise ValueError(
                'sup_weight and semi_weight must be >= 0, got '
                f'{sup_weight} and {semi_weight}'
            )
        if joint and sup_weight != semi_weight:
            raise ValueError(
                'joint=True has one weight for all images, but sup_weight is '
                f'{sup_weight} and semi_weight {semi_weight}: set joint=False'
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
        self.joint = joint

    @abstractmethod
    def loss_with_features(
        self, rgb: Tensor, batch_data_samples: SampleList
    ) -> Pass:
        """Run the detector on the weak view.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.
            batch_data_samples (list[DetDataSample]): Samples with
                ``gt_instances``.

        Returns:
            tuple: Losses, features (B, C, h, w), mask logits (B, K, h', w')
            that cover the padded image, and class logits (B, K, C + 1).
        """

    @abstractmethod
    def encode_features(self, rgb: Tensor) -> Tensor:
        """Compute the encoder's features.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.

        Returns:
            Tensor: (B, C, h, w) features.
        """

    def feature_grid(
        self, features: Tensor, image_size: tuple[int, int]
    ) -> FeatureGrid:
        """Return where the features lie in the padded image.

        Args:
            features (Tensor): (B, C, h, w) output of
                :meth:`encode_features`.
            image_size (tuple[int, int]): (H, W) of the padded image.

        Returns:
            FeatureGrid: Grid of (h, w) equal cells that cover the image; a
            detector whose features lie elsewhere overrides this method.
        """
        return FeatureGrid.covering(
            spatial_size(features), image_size, features.device
        )

    def loss(
        self,
        multi_batch_inputs: dict[str, Tensor],
        multi_batch_data_samples: dict[str, SampleList],
    ) -> dict[str, Tensor]:
        """Compute the losses of one iteration.

        Args:
            multi_batch_inputs (dict): ``sup``, ``unsup`` or both, each
                (B, 3, H, W) RGB in 0..255.
            multi_batch_data_samples (dict): Samples of the same branches.

        Returns:
            dict[str, Tensor]: ``sup_*`` and ``unsup_*`` losses, or, with
            ``joint``, the losses of the detector, and ``loss_contrast``.
        """
        branches = [b for b in self.branch_weights if b in multi_batch_inputs]
        pixels = [multi_batch_inputs[b] for b in branches]
        samples = [multi_batch_data_samples[b] for b in branches]
        weights = [self.branch_weights[b] for b in branches]
        prefixes = [f'{b}_' for b in branches]
        # Only these images have annotated instances; others have predictions.
        annotated = [
            branch == 'sup'
            for branch, group in zip(branches, samples, strict=True)
            for _ in group
        ]
        if self.joint:
            _check_one_size(pixels)
            pixels = [torch.cat(pixels)]
            samples = [[*itertools.chain(*samples)]]
            weights, prefixes = weights[:1], ['']
        losses, passes = {}, []
        for rgb, group, weight, prefix in zip(
            pixels, samples, weights, prefixes, strict=True
        ):
            if weight == 0 and self.loss_contrast is None:
                continue
            detector_losses, *predictions = self.loss_with_features(rgb, group)
            losses.update(
                rename_loss_dict(prefix, scale_losses(detector_losses, weight))
            )
            passes.append((rgb, group, *predictions))
        if self.loss_contrast is not None:
            losses['loss_contrast'] = self._contrast(passes, annotated)
        return losses

    def _contrast(
        self, passes: Sequence[tuple], annotated: Sequence[bool]
    ) -> Tensor:
        """Compute L_pxl over all images of the step.

        Args:
            passes (Sequence[tuple]): Pixels, samples, weak features, mask
                logits and class logits of each pass.
            annotated (Sequence[bool]): Whether each image has annotated
                objects.

        Returns:
            Tensor: The weighted loss, a scalar.
        """
        assert self.loss_contrast is not None
        assert self.strong_augment is not None
        pixels, groups, weak, masks, classes = zip(*passes, strict=True)
        _check_one_size(pixels)
        rgb = torch.cat(pixels)
        samples = [*itertools.chain(*groups)]
        with torch.no_grad():
            sizes = [tuple(s.img_shape[:2]) for s in samples]
            strong = self.encode_features(self.strong_augment(rgb, sizes))
        grid = self.feature_grid(strong, spatial_size(rgb))
        gt_ids = None
        if self.loss_contrast.keep_statistics:
            unknown = rgb.new_full(strong.shape[-2:], -1, dtype=torch.long)
            gt_ids = torch.stack(
                [
                    object_grid(sample.gt_instances.masks, grid)
                    if known
                    else unknown
                    for sample, known in zip(samples, annotated, strict=True)
                ]
            )
        num_queries = max(m.shape[1] for m in masks)
        return self.loss_contrast(
            torch.cat(weak),
            strong,
            torch.cat([_pad_queries(m, num_queries, NOWHERE) for m in masks]),
            torch.cat([_pad_queries(c, num_queries, 0.0) for c in classes]),
            valid_grid(samples, grid),
            gt_ids,
            grid,
        )


def _check_one_size(pixels: Sequence[Tensor]) -> None:
    """Refuse branches whose padded images differ in size."""
    sizes = [spatial_size(rgb) for rgb in pixels]
    if len(set(sizes)) > 1:
        raise ValueError(
            'Labelled and pseudo-labelled images have other sizes in a '
            f'batch, {sizes}: they are compared or are one batch, so crop or '
            'pad them to one size, e.g. data_preprocessor.batch_augments='
            "[dict(type='BatchFixedSizePad', size=(height, width))]."
        )


def _pad_queries(x: Tensor, num_queries: int, value: float) -> Tensor:
    """Pad (B, K, ...) logits to a number of queries."""
    missing = num_queries - x.shape[1]
    return F.pad(x, (0, 0) * (x.dim() - 2) + (0, missing), value=value)


def valid_grid(batch_data_samples: SampleList, grid: FeatureGrid) -> Tensor:
    """Find the positions of a feature map that show the image.

    A position counts if its centre lies in the image, not in its padding.

    Args:
        batch_data_samples (list[DetDataSample]): Samples with ``img_shape``.
        grid (FeatureGrid): Centres of the (h, w) positions.

    Returns:
        Tensor: (B, h, w) bool, false on padding.
    """
    sizes = torch.tensor([s.img_shape[:2] for s in batch_data_samples])
    (sizes,) = to_device([sizes], grid.rows.device)
    rows = grid.rows < sizes[:, :1]
    cols = grid.cols < sizes[:, 1:]
    return rows[:, :, None] & cols[:, None]


def object_grid(masks: BitmapMasks | Tensor, grid: FeatureGrid) -> Tensor:
    """Find the object at the centre of each position of a feature map.

    Args:
        masks (BitmapMasks | Tensor): (n, H, W) masks that cover the padded
            image or its upper left part.
        grid (FeatureGrid): Centres of the (h, w) positions.

    Returns:
        Tensor: (h, w) int64, 1 + the index of the mask, or 0 for the
        background.
    """
    rows, cols = (
        # A cell may reach beyond the padded image.
        centre.long().clamp(max=length - 1)
        for centre, length in zip(
            (grid.rows, grid.cols), grid.image_size, strict=True
        )
    )
    if len(masks) == 0:
        return rows.new_zeros(len(rows), len(cols))
    masks = pad_masks(masks, grid.image_size, rows.device)
    sampled = masks[:, rows][:, :, cols]
    return torch.where(sampled.any(0), 1 + sampled.int().argmax(0), 0)
