# SPDX-License-Identifier: Apache-2.0
"""Mask2Former with structural distillation."""

from __future__ import annotations

from mmdet.models.detectors import Mask2Former
from mmdet.registry import MODELS
from mmdet.utils import OptConfigType

from .structural_distillation import StructuralDistillMixin


@MODELS.register_module()
class DistillMask2Former(StructuralDistillMixin, Mask2Former):
    """Mask2Former that distils a segmenter's structure into its pixel decoder.

    `S4M <https://arxiv.org/abs/2504.05301>`_, stage 1. Keys of a checkpoint
    are those of MMDet's Mask2Former.

    Args:
        feature_source (str): See :class:`StructuralDistillMixin`. Defaults
            to ``panoptic_head.pixel_decoder``.
        segmenter (dict): Config of a promptable segmenter.
        **kwargs: Arguments of :class:`StructuralDistillMixin` and of MMDet's
            Mask2Former.
    """

    def __init__(
        self,
        *args,
        feature_source: str = 'panoptic_head.pixel_decoder',
        segmenter: OptConfigType = None,
        **kwargs,
    ) -> None:
        if segmenter is None:
            raise ValueError(
                'DistillMask2Former needs a segmenter, e.g. dict(type='
                "'SAM2Segmenter', config='sam2_hiera_large', checkpoint=...)"
            )
        super().__init__(
            *args,
            feature_source=feature_source,
            segmenter=segmenter,
            **kwargs,
        )
