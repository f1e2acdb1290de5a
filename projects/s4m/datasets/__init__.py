# SPDX-License-Identifier: Apache-2.0
from .samplers import SemiSampler
from .semi_dataset import DrawIndex, SemiDataset
from .transforms import LoadCheckedImage, SSDColorDistortion

__all__ = [
    'DrawIndex',
    'LoadCheckedImage',
    'SSDColorDistortion',
    'SemiDataset',
    'SemiSampler',
]
