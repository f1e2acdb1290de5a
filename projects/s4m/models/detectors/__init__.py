# SPDX-License-Identifier: Apache-2.0
from .contrastive_mask2former import ContrastiveMask2Former
from .contrastive_self_training import (
    ContrastiveSelfTrainingMixin,
    object_grid,
    valid_grid,
)
from .distill_detectors import (
    DistillCondInst,
    DistillMaskFormer,
    DistillMaskRCNN,
    DistillQueryInst,
    DistillRTMDet,
    DistillSOLOv2,
)
from .distill_mask2former import DistillMask2Former
from .prompted_detector import PromptedDetector
from .semi_instance_segmentor import SemiInstanceSegmentor
from .structural_distillation import (
    StructuralDistillMixin,
    sample_query_points,
)

__all__ = [
    'ContrastiveMask2Former',
    'ContrastiveSelfTrainingMixin',
    'DistillCondInst',
    'DistillMask2Former',
    'DistillMaskFormer',
    'DistillMaskRCNN',
    'DistillQueryInst',
    'DistillRTMDet',
    'DistillSOLOv2',
    'PromptedDetector',
    'SemiInstanceSegmentor',
    'StructuralDistillMixin',
    'object_grid',
    'sample_query_points',
    'valid_grid',
]
