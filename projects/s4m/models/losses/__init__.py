# SPDX-License-Identifier: Apache-2.0
from .structural_distillation_loss import (
    StructuralDistillationLoss,
    similarity_rows,
)

__all__ = ['StructuralDistillationLoss', 'similarity_rows']
