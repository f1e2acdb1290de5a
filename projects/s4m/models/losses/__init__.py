# SPDX-License-Identifier: Apache-2.0
from .feature_grid import FeatureGrid
from .negatives import (
    PixelDescriptors,
    draw_negatives,
    negative_weights,
    pixel_descriptors,
)
from .pixel_contrastive_loss import PixelContrastiveLoss
from .structural_distillation_loss import (
    StructuralDistillationLoss,
    similarity_rows,
)

__all__ = [
    'FeatureGrid',
    'PixelContrastiveLoss',
    'PixelDescriptors',
    'StructuralDistillationLoss',
    'draw_negatives',
    'negative_weights',
    'pixel_descriptors',
    'similarity_rows',
]
