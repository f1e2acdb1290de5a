# SPDX-License-Identifier: Apache-2.0
from .ssd_color_distortion import SSDColorDistortion

__all__ = ['SSDColorDistortion']
