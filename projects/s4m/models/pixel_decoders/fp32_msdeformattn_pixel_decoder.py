# SPDX-License-Identifier: Apache-2.0
"""The deformable pixel decoder in fp32, also inside autocast."""

from __future__ import annotations

import torch
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class Fp32MSDeformAttnPixelDecoder(MSDeformAttnPixelDecoder):
    """Mask2Former's pixel decoder, which runs in fp32 inside autocast.

    The CUDA deformable attention of mmcv has no bf16 kernel, and Mask2Former
    runs it in fp32. Parameters and keys are those of MMDet's decoder.
    """

    def forward(self, feats: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode a pyramid in fp32.

        Args:
            feats (list[Tensor]): (B, C_i, h_i, w_i) levels from fine to
                coarse.

        Returns:
            tuple: (B, C, h, w) mask features and the memory levels, from low
            to high resolution.
        """
        with torch.autocast(feats[0].device.type, enabled=False):
            return super().forward([f.float() for f in feats])
