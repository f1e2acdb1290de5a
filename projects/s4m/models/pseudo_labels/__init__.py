# SPDX-License-Identifier: Apache-2.0
from .pseudo_label_refiner import (
    PseudoLabelRefiner,
    mask_iou,
    sample_mask_points,
    upsample_masks,
)
from .query_pseudo_labeler import QueryPseudoLabeler
from .refined_copy_paste import RefinedCopyPaste, top_layer
from .strong_augment import StrongAugment

__all__ = [
    'PseudoLabelRefiner',
    'QueryPseudoLabeler',
    'RefinedCopyPaste',
    'StrongAugment',
    'mask_iou',
    'sample_mask_points',
    'top_layer',
    'upsample_masks',
]
