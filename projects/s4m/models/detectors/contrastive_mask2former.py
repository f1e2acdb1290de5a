# SPDX-License-Identifier: Apache-2.0
"""Mask2Former that learns from labels, pseudo-labels and pixel contrast."""

from __future__ import annotations

from mmdet.models.detectors import Mask2Former
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from s4m.utils.recording import record_output

from ..losses import FeatureGrid
from .contrastive_self_training import ContrastiveSelfTrainingMixin, Pass


@MODELS.register_module()
class ContrastiveMask2Former(ContrastiveSelfTrainingMixin, Mask2Former):
    """Mask2Former that learns from labels, pseudo-labels and pixel contrast.

    The student of `SSKD <https://arxiv.org/abs/2604.03841>`_. A checkpoint
    has Mask2Former's keys, and the keys of the projection head below
    ``loss_contrast``.

    Args:
        *args: Arguments of MMDet's Mask2Former.
        feature_level (int): Index of the backbone's output on which L_pxl is
            computed. Defaults to -1, the last and coarsest output.
        **kwargs: Arguments of :class:`ContrastiveSelfTrainingMixin` and of
            MMDet's Mask2Former.

    Example:
        >>> model = dict(
        ...     type='ContrastiveMask2Former',
        ...     loss_contrast=dict(
        ...         type='PixelContrastiveLoss', in_channels=256),
        ...     strong_augment=dict(type='StrongAugment'),
        ...     data_preprocessor=dict(
        ...         type='SemiDataPreprocessor',
        ...         mean=[123.675, 116.28, 103.53],
        ...         std=[58.395, 57.12, 57.375]))
    """

    def __init__(self, *args, feature_level: int = -1, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.feature_level = feature_level

    def loss_with_features(
        self, rgb: Tensor, batch_data_samples: SampleList
    ) -> Pass:
        """Run Mask2Former once on the weak view; see the mixin."""
        with (
            record_output(self.backbone) as features,
            record_output(self.panoptic_head) as outputs,
        ):
            losses = super(ContrastiveSelfTrainingMixin, self).loss(
                self.data_preprocessor.normalize(rgb), batch_data_samples
            )
        cls_logits, mask_logits = (layers[-1] for layers in outputs[0])
        return losses, features[0][self.feature_level], mask_logits, cls_logits

    def encode_features(self, rgb: Tensor) -> Tensor:
        """Compute the backbone's output ``feature_level``; see the mixin."""
        outs = self.backbone(self.data_preprocessor.normalize(rgb))
        return outs[self.feature_level]

    def feature_grid(
        self, features: Tensor, image_size: tuple[int, int]
    ) -> FeatureGrid:
        """Return where the features lie in the padded image.

        A backbone with a method ``centres``, such as ``ViTFeaturePyramid``,
        gives the positions: a stride-28 level of an image of 518 pixels has
        19 rows, which are 28 pixels apart and not 518 / 19. With another
        backbone the sides of the padded image have to be multiples of the
        stride, which MMDet's ``pad_size_divisor`` ensures.
        """
        if not hasattr(self.backbone, 'centres'):
            return super().feature_grid(features, image_size)
        rows, cols = (
            self.backbone.centres(self.feature_level, length).to(
                features.device
            )
            for length in image_size
        )
        return FeatureGrid(rows, cols, image_size)
