# SPDX-License-Identifier: Apache-2.0
from .distill_mask2former_head import DistillMask2FormerHead

__all__ = ['DistillMask2FormerHead']
