# SPDX-License-Identifier: Apache-2.0
from .contrastive_detectors import (
    ContrastiveDistillMixin,
    ContrastiveMask2Former,
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
from .distill_mask2former import (
    DistillMask2Former,
    StructuralDistillMixin,
    record_output,
    sample_query_points,
)
from .prompted_detector import PromptedDetector
from .semi_instance_segmentor import (
    SemiInstanceSegmentor,
    check_fits,
    find_checkpoint,
    load_detector,
    network_state,
    valid_sizes,
)

__all__ = [
    'ContrastiveDistillMixin',
    'ContrastiveMask2Former',
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
    'check_fits',
    'find_checkpoint',
    'load_detector',
    'network_state',
    'object_grid',
    'record_output',
    'sample_query_points',
    'valid_grid',
    'valid_sizes',
]
