# SPDX-License-Identifier: Apache-2.0
from .batched_losses import BatchedLossesMixin
from .batched_maskformer_head import BatchedMaskFormerHead
from .batched_point_losses import BatchedPointLossesMixin
from .batched_rtmdet_ins_head import BatchedRTMDetInsHead
from .distill_mask2former_head import DistillMask2FormerHead

__all__ = [
    'BatchedLossesMixin',
    'BatchedMaskFormerHead',
    'BatchedPointLossesMixin',
    'BatchedRTMDetInsHead',
    'DistillMask2FormerHead',
]
