# SPDX-License-Identifier: Apache-2.0
"""Structural distillation for more of MMDet's instance segmenters."""

from __future__ import annotations

from mmdet.models.detectors import (
    CondInst,
    MaskFormer,
    MaskRCNN,
    QueryInst,
    RTMDet,
    SOLOv2,
)
from mmdet.registry import MODELS

from .structural_distillation import StructuralDistillMixin


@MODELS.register_module()
class DistillMaskFormer(StructuralDistillMixin, MaskFormer):
    """MaskFormer with structural distillation."""


@MODELS.register_module()
class DistillMaskRCNN(StructuralDistillMixin, MaskRCNN):
    """Mask R-CNN with structural distillation, ``feature_source='neck'``."""


@MODELS.register_module()
class DistillRTMDet(StructuralDistillMixin, RTMDet):
    """RTMDet-Ins with structural distillation, ``feature_source='neck'``."""


@MODELS.register_module()
class DistillSOLOv2(StructuralDistillMixin, SOLOv2):
    """SOLOv2 with structural distillation, ``feature_source='neck'``."""


@MODELS.register_module()
class DistillCondInst(StructuralDistillMixin, CondInst):
    """CondInst with structural distillation, ``feature_source='neck'``."""


@MODELS.register_module()
class DistillQueryInst(StructuralDistillMixin, QueryInst):
    """QueryInst with structural distillation, ``feature_source='neck'``."""
