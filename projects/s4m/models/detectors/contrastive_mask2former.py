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
    has Mask2Former's keys, and those of the projection head below
    ``loss_contrast``.

    Args:
        feature_level (int): Output of the backbone that L_pxl is on; by
            default the last, coarsest one.
        **kwargs: Arguments of :class:`ContrastiveSelfTrainingMixin` and of
            MMDet's Mask2Former.
    """

    def __init__(self, *args, feature_level: int = -1, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.feature_level = feature_level

    def loss_with_features(
        self, rgb: Tensor, batch_data_samples: SampleList
    ) -> Pass:
        """See :class:`ContrastiveSelfTrainingMixin`."""
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
        """The backbone's chosen level."""
        outs = self.backbone(self.data_preprocessor.normalize(rgb))
        return outs[self.feature_level]

    def feature_grid(
        self, features: Tensor, image_size: tuple[int, int]
    ) -> FeatureGrid:
        """See :class:`ContrastiveSelfTrainingMixin`.

        A backbone that says where its levels' positions lie is asked
        (``centres``, as ``ViTFeaturePyramid``): a stride-28 level of an image
        of 518 pixels has 19 rows, 28 pixels apart, not 518 / 19. Of others
        the padded image has to be a multiple of the stride, as MMDet's
        ``pad_size_divisor`` makes it.
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
