# SPDX-License-Identifier: Apache-2.0
from .distributed import (
    CPUDistributedDataParallel,
    PartwiseDistributedDataParallel,
    setup_distributed,
)
from .hooks import (
    AnnotationCheckHook,
    BurnInMeanTeacherHook,
    ContrastiveDiagnosticsHook,
    DeferredRuntimeInfoHook,
    PrecisionThresholdHook,
    PseudoLabelDriftHook,
    PseudoLabelRefineHook,
    RandomStateHook,
)
from .one_pass_val_loop import OnePassTeacherStudentValLoop
from .optim_wrapper_constructor import SegmentorOptimWrapperConstructor

__all__ = [
    'AnnotationCheckHook',
    'BurnInMeanTeacherHook',
    'CPUDistributedDataParallel',
    'ContrastiveDiagnosticsHook',
    'DeferredRuntimeInfoHook',
    'OnePassTeacherStudentValLoop',
    'PartwiseDistributedDataParallel',
    'PrecisionThresholdHook',
    'PseudoLabelDriftHook',
    'PseudoLabelRefineHook',
    'RandomStateHook',
    'SegmentorOptimWrapperConstructor',
    'setup_distributed',
]
