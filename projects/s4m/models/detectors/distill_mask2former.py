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

    The detector of stage 1 in `S4M <https://arxiv.org/abs/2504.05301>`_. The
    keys of a checkpoint are those of MMDet's Mask2Former.

    Args:
        *args: Arguments of MMDet's Mask2Former.
        feature_source (str): Name of the submodule whose output learns.
            Defaults to ``panoptic_head.pixel_decoder``.
        segmenter (dict): Config of a promptable segmenter.
        **kwargs: Arguments of :class:`StructuralDistillMixin` and of MMDet's
            Mask2Former.

    Raises:
        ValueError: if ``segmenter`` is missing.

    Example:
        >>> model = dict(
        ...     type='DistillMask2Former',
        ...     segmenter=dict(
        ...         type='SAM2Segmenter',
        ...         config='sam2_hiera_large',
        ...         checkpoint='checkpoints/sam2_hiera_large.pt'),
        ...     loss_distill=dict(
        ...         type='StructuralDistillationLoss', loss_weight=1.0))
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
