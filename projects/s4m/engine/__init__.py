# SPDX-License-Identifier: Apache-2.0
from .cpu_distributed import (
    CPUDistributedDataParallel,
    setup_cpu_distributed,
)
from .hooks import (
    AnnotationCheckHook,
    BurnInMeanTeacherHook,
    ContrastiveDiagnosticsHook,
    PrecisionThresholdHook,
    PseudoLabelDriftHook,
    PseudoLabelRefineHook,
    RandomStateHook,
)
from .optim_wrapper_constructor import SegmentorOptimWrapperConstructor

__all__ = [
    'AnnotationCheckHook',
    'BurnInMeanTeacherHook',
    'CPUDistributedDataParallel',
    'ContrastiveDiagnosticsHook',
    'PrecisionThresholdHook',
    'PseudoLabelDriftHook',
    'PseudoLabelRefineHook',
    'RandomStateHook',
    'SegmentorOptimWrapperConstructor',
    'setup_cpu_distributed',
]
