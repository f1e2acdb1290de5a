# SPDX-License-Identifier: Apache-2.0
from .refined_copy_paste import RefinedCopyPaste
from .strong_augment import StrongAugment, valid_sizes

__all__ = ['RefinedCopyPaste', 'StrongAugment', 'valid_sizes']
