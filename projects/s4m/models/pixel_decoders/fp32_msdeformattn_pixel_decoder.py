# SPDX-License-Identifier: Apache-2.0
"""The deformable pixel decoder in fp32, whatever the autocast."""

from __future__ import annotations

import torch
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class Fp32MSDeformAttnPixelDecoder(MSDeformAttnPixelDecoder):
    """Mask2Former's pixel decoder as an fp32 island inside autocast.

    mmcv's CUDA deformable attention has no bf16 kernel, and the original
    runs it in fp32. Same parameters, same keys.
    """

    def forward(self, feats: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode (B, C_i, h_i, w_i) features in fp32.

        Returns:
            tuple: (B, C, h, w) mask features and the memory levels, from low
            to high resolution.
        """
        with torch.autocast(feats[0].device.type, enabled=False):
            return super().forward([f.float() for f in feats])
