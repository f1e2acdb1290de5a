# SPDX-License-Identifier: Apache-2.0
from .distill_detectors import (
    DistillCondInst,
    DistillMaskFormer,
    DistillMaskRCNN,
    DistillQueryInst,
    DistillRTMDet,
    DistillSOLOv2,
)
from .distill_mask2former import (
    DistillMask2Former,
    StructuralDistillMixin,
    record_output,
    sample_query_points,
)
from .semi_instance_segmentor import (
    SemiInstanceSegmentor,
    find_checkpoint,
    load_detector,
)

__all__ = [
    'DistillCondInst',
    'DistillMask2Former',
    'DistillMaskFormer',
    'DistillMaskRCNN',
    'DistillQueryInst',
    'DistillRTMDet',
    'DistillSOLOv2',
    'SemiInstanceSegmentor',
    'StructuralDistillMixin',
    'find_checkpoint',
    'load_detector',
    'record_output',
    'sample_query_points',
]
