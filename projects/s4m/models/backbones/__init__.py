# SPDX-License-Identifier: Apache-2.0
from .vit_feature_pyramid import ViTFeaturePyramid

__all__ = ['ViTFeaturePyramid']
