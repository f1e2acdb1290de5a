# SPDX-License-Identifier: Apache-2.0
from .load_checked_image import LoadCheckedImage
from .ssd_color_distortion import SSDColorDistortion

__all__ = ['LoadCheckedImage', 'SSDColorDistortion']
