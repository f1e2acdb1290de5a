# SPDX-License-Identifier: Apache-2.0
"""Training on a person's own images, from labels to a published model."""

from .evaluating import ClassAP, EvaluateResult, NetworkAP, evaluate
from .labelling import LabelResult, label
from .predicting import PredictResult, predict
from .suggestion import Suggestion, SuggestResult, suggest
from .train import TrainResult, train

__all__ = [
    'ClassAP',
    'EvaluateResult',
    'LabelResult',
    'NetworkAP',
    'PredictResult',
    'SuggestResult',
    'Suggestion',
    'TrainResult',
    'evaluate',
    'label',
    'predict',
    'suggest',
    'train',
]
