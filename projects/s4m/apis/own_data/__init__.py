# SPDX-License-Identifier: Apache-2.0
"""Training on a person's own images, from labels to a published model."""

from .doctor import Check, doctor, list_all
from .evaluating import ClassAP, EvaluateResult, NetworkAP, evaluate
from .labelling import LabelResult, label
from .predicting import PredictResult, predict
from .report import report
from .run_folder import RunFolder, open_run
from .stages import TrainResult, publish_network
from .suggestion import Suggestion, SuggestResult, suggest
from .train import train

__all__ = [
    'Check',
    'ClassAP',
    'EvaluateResult',
    'LabelResult',
    'NetworkAP',
    'PredictResult',
    'RunFolder',
    'SuggestResult',
    'Suggestion',
    'TrainResult',
    'doctor',
    'evaluate',
    'label',
    'list_all',
    'open_run',
    'predict',
    'publish_network',
    'report',
    'suggest',
    'train',
]
