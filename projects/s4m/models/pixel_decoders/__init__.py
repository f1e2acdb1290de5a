# SPDX-License-Identifier: Apache-2.0
from .fp32_msdeformattn_pixel_decoder import Fp32MSDeformAttnPixelDecoder

__all__ = ['Fp32MSDeformAttnPixelDecoder']
