# SPDX-License-Identifier: Apache-2.0
"""Training on a person's own images, from labels to a published model."""

from .doctor import Check, doctor, list_all
from .report import report
from .run_folder import RunFolder, open_run
from .train import TrainResult, publish_network, train

__all__ = [
    'Check',
    'RunFolder',
    'TrainResult',
    'doctor',
    'list_all',
    'open_run',
    'publish_network',
    'report',
    'train',
]
