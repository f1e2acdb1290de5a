# SPDX-License-Identifier: Apache-2.0
from .refined_copy_paste import RefinedCopyPaste
from .strong_augment import StrongAugment

__all__ = ['RefinedCopyPaste', 'StrongAugment']
