# SPDX-License-Identifier: Apache-2.0
from .pixel_contrastive_loss import (
    FeatureGrid,
    PixelContrastiveLoss,
    draw_negatives,
    pixel_descriptors,
)
from .structural_distillation_loss import (
    StructuralDistillationLoss,
    similarity_rows,
)

__all__ = [
    'FeatureGrid',
    'PixelContrastiveLoss',
    'StructuralDistillationLoss',
    'draw_negatives',
    'pixel_descriptors',
    'similarity_rows',
]
