# SPDX-License-Identifier: Apache-2.0
from .mask_ops import (
    at_full_size,
    masks_to_boxes,
    nearest_masks,
    resize_cropped_masks,
    upsample_masks,
)
from .prediction_pseudo_labeler import PredictionPseudoLabeler
from .pseudo_label_refiner import (
    PseudoLabelRefiner,
    mask_iou,
    sample_mask_points,
)
from .query_pseudo_labeler import QueryPseudoLabeler
from .refined_copy_paste import RefinedCopyPaste, top_layer
from .strong_augment import StrongAugment

__all__ = [
    'PredictionPseudoLabeler',
    'PseudoLabelRefiner',
    'QueryPseudoLabeler',
    'RefinedCopyPaste',
    'StrongAugment',
    'at_full_size',
    'mask_iou',
    'masks_to_boxes',
    'nearest_masks',
    'resize_cropped_masks',
    'sample_mask_points',
    'top_layer',
    'upsample_masks',
]
