# SPDX-License-Identifier: Apache-2.0
from .prediction_pseudo_labeler import PredictionPseudoLabeler
from .pseudo_label_refiner import (
    PseudoLabelRefiner,
    sample_mask_points,
)
from .pseudo_labeler import PseudoLabeler
from .query_pseudo_labeler import QueryPseudoLabeler
from .view_agreement_pseudo_labeler import ViewAgreementPseudoLabeler

__all__ = [
    'PredictionPseudoLabeler',
    'PseudoLabelRefiner',
    'PseudoLabeler',
    'QueryPseudoLabeler',
    'ViewAgreementPseudoLabeler',
    'sample_mask_points',
]
