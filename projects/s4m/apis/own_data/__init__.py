# SPDX-License-Identifier: Apache-2.0
"""Training on a person's own images, from labels to a published model."""

from .train import TrainResult, train

__all__ = ['TrainResult', 'train']
