# SPDX-License-Identifier: Apache-2.0
from .samplers import SemiSampler
from .semi_dataset import DrawIndex, SemiDataset
from .transforms import (
    LoadCheckedImage,
    LoadLazyAnnotations,
    ResizeCrop,
    SSDColorDistortion,
)

__all__ = [
    'DrawIndex',
    'LoadCheckedImage',
    'LoadLazyAnnotations',
    'ResizeCrop',
    'SSDColorDistortion',
    'SemiDataset',
    'SemiSampler',
]
