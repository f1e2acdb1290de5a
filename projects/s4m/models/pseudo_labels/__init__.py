# SPDX-License-Identifier: Apache-2.0
from .prediction_pseudo_labeler import PredictionPseudoLabeler
from .pseudo_label_refiner import (
    PseudoLabelRefiner,
    sample_mask_points,
)
from .query_pseudo_labeler import QueryPseudoLabeler

__all__ = [
    'PredictionPseudoLabeler',
    'PseudoLabelRefiner',
    'QueryPseudoLabeler',
    'sample_mask_points',
]
