# SPDX-License-Identifier: Apache-2.0
from .dpt_pixel_decoder import DPTPixelDecoder
from .fp32_msdeformattn_pixel_decoder import Fp32MSDeformAttnPixelDecoder

__all__ = ['DPTPixelDecoder', 'Fp32MSDeformAttnPixelDecoder']
