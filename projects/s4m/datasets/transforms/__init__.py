# SPDX-License-Identifier: Apache-2.0
from .load_checked_image import LoadCheckedImage
from .load_lazy_annotations import LoadLazyAnnotations
from .resize_crop import ResizeCrop
from .ssd_color_distortion import SSDColorDistortion

__all__ = [
    'LoadCheckedImage',
    'LoadLazyAnnotations',
    'ResizeCrop',
    'SSDColorDistortion',
]
