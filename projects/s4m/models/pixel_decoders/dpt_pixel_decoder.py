# SPDX-License-Identifier: Apache-2.0
"""The decoder of Dense Prediction Transformers for Mask2Former."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule, caffe2_xavier_init
from torch import Tensor, nn


class ResidualConvUnit(nn.Module):
    """Two pre-activated 3x3 convolutions and a short cut.

    Args:
        channels (int): Of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FusionBlock(nn.Module):
    """RefineNet's fusion of a level with the coarser ones.

    DPT up-samples at the end of a block, before its 1x1 convolution; here
    the next block does, which is the same, since the two are linear and swap:
    so each block has an output at its own resolution.

    Args:
        channels (int): Of all maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lateral = ResidualConvUnit(channels)
        self.refine = ResidualConvUnit(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, coarser: Tensor | None) -> Tensor:
        """Fuse (B, C, h, w) with (B, C, h', w'), which is up-sampled.

        The coarsest level has nothing to fuse with.
        """
        x = self.lateral(x)
        if coarser is not None:
            x = x + F.interpolate(
                coarser, x.shape[-2:], mode='bilinear', align_corners=False
            )
        return self.project(self.refine(x))


@MODELS.register_module()
class DPTPixelDecoder(BaseModule):
    """Convolutional pixel decoder of Mask2Former, without deformable encoder.

    `DPT <https://arxiv.org/abs/2103.13413>`_ as the decoder of SSKD's
    student: 3x3 convolutions bring all levels to F channels, a chain of
    RefineNet fusion blocks goes from the coarsest to the finest. Takes the
    place of MMDet's ``MSDeformAttnPixelDecoder`` with any backbone.

    Args:
        in_channels (Sequence[int]): Of the levels, from fine to coarse.
        feat_channels (int): F, of all maps inside and of the memory.
        out_channels (int): Of the mask features.
        num_outs (int): Memory levels, from the coarsest on.
        encoder (dict, optional): MMDet's ``Mask2FormerHead`` asks each pixel
            decoder's config for ``encoder.layer_cfg.self_attn_cfg.
            num_levels``: what it says has to be ``num_outs``.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ValueError: if there are fewer levels than ``num_outs`` + 1, or the
            numbers contradict each other.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        feat_channels: int = 256,
        out_channels: int = 256,
        num_outs: int = 3,
        encoder: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not 1 <= num_outs < len(in_channels):
            raise ValueError(
                f'{len(in_channels)} levels make at most '
                f'{len(in_channels) - 1} memory levels and at least 1, not '
                f'{num_outs}: the finest one is for the mask features'
            )
        if encoder is not None:
            levels = encoder['layer_cfg']['self_attn_cfg']['num_levels']
            if levels != num_outs:
                raise ValueError(
                    f'num_outs is {num_outs}, but the head expects {levels} '
                    'memory levels (encoder...num_levels)'
                )
        self.num_outs = num_outs
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, feat_channels, 3, padding=1, bias=False)
            for channels in in_channels
        )
        self.fusions = nn.ModuleList(
            FusionBlock(feat_channels) for _ in in_channels
        )
        self.mask_feature = nn.Conv2d(feat_channels, out_channels, 1)

    def init_weights(self) -> None:
        """Xavier, as Mask2Former's other pixel decoders."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                caffe2_xavier_init(module, bias=0)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode a pyramid.

        Args:
            feats (Sequence[Tensor]): (B, C_i, h_i, w_i) from fine to coarse.

        Returns:
            tuple: (B, C, h_0, w_0) mask features, and ``num_outs`` memory
            levels (B, F, h_i, w_i) from low to high resolution.
        """
        out, outs = None, []
        for lateral, fusion, feat in zip(
            reversed(self.laterals),
            reversed(self.fusions),
            reversed(feats),
            strict=True,
        ):
            out = fusion(lateral(feat), out)
            outs.append(out)
        return self.mask_feature(out), outs[: self.num_outs]
