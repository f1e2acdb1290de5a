# SPDX-License-Identifier: Apache-2.0
from .annotation_check_hook import AnnotationCheckHook
from .burn_in_mean_teacher_hook import BurnInMeanTeacherHook
from .contrastive_diagnostics_hook import ContrastiveDiagnosticsHook
from .deferred_runtime_info_hook import DeferredRuntimeInfoHook
from .precision_threshold_hook import PrecisionThresholdHook
from .pseudo_label_drift_hook import PseudoLabelDriftHook
from .pseudo_label_refine_hook import PseudoLabelRefineHook
from .random_state_hook import RandomStateHook
from .stop_signal_hook import StopSignalHook

__all__ = [
    'AnnotationCheckHook',
    'BurnInMeanTeacherHook',
    'ContrastiveDiagnosticsHook',
    'DeferredRuntimeInfoHook',
    'PrecisionThresholdHook',
    'PseudoLabelDriftHook',
    'PseudoLabelRefineHook',
    'RandomStateHook',
    'StopSignalHook',
]
