# SPDX-License-Identifier: Apache-2.0
"""The decoder of Dense Prediction Transformers for Mask2Former."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmdet.registry import MODELS
from mmdet.utils import OptConfigType
from mmengine.model import BaseModule, caffe2_xavier_init
from torch import Tensor, nn


def _upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size, mode='bilinear', align_corners=False)


class ResidualConvUnit(nn.Module):
    """Two pre-activated 3x3 convolutions and a shortcut.

    Args:
        channels (int): Number of input and output channels.
        norm_cfg (dict, optional): Config of the normalisation after each
            convolution, which then has no bias. Defaults to no normalisation.
    """

    def __init__(self, channels: int, norm_cfg: OptConfigType = None) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv_and_norm(channels, norm_cfg)
        self.conv2, self.norm2 = _conv_and_norm(channels, norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Process a (B, C, h, w) map to one of the same shape."""
        y = self.norm1(self.conv1(F.relu(x)))
        return x + self.norm2(self.conv2(F.relu(y)))


def _conv_and_norm(
    channels: int, norm_cfg: OptConfigType
) -> tuple[nn.Conv2d, nn.Module]:
    if norm_cfg is None:
        return nn.Conv2d(channels, channels, 3, padding=1), nn.Identity()
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    return conv, build_norm_layer(norm_cfg, channels)[1]


class FusionBlock(nn.Module):
    """RefineNet's fusion of a level with the coarser ones.

    DPT up-samples at the end of a block, before the block's 1x1 convolution.
    The two commute, so here the convolution runs at the resolution of the
    level and the decoder up-samples its output.

    Args:
        channels (int): Number of channels of all maps.
        norm_cfg (dict, optional): Config of the normalisation in the residual
            units. Defaults to no normalisation.
    """

    def __init__(self, channels: int, norm_cfg: OptConfigType = None) -> None:
        super().__init__()
        self.lateral = ResidualConvUnit(channels, norm_cfg)
        self.refine = ResidualConvUnit(channels, norm_cfg)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, coarser: Tensor | None) -> Tensor:
        """Fuse (B, C, h, w) with the coarser levels.

        Args:
            x (Tensor): (B, C, h, w) map of the level.
            coarser (Tensor, optional): Map of the same shape, up-sampled from
                the next coarser block; None for the coarsest level.

        Returns:
            Tensor: (B, C, h, w) map of the level.
        """
        x = self.lateral(x)
        if coarser is not None:
            x = x + coarser
        return self.project(self.refine(x))


@MODELS.register_module()
class DPTPixelDecoder(BaseModule):
    """Convolutional pixel decoder of Mask2Former, without deformable encoder.

    This is the decoder of `DPT <https://arxiv.org/abs/2103.13413>`_, as in
    SSKD's student: 3x3 convolutions bring all levels to F channels, and
    RefineNet fusion blocks run from the coarsest level to the finest. It can
    replace MMDet's ``MSDeformAttnPixelDecoder`` with any backbone.

    Args:
        in_channels (Sequence[int]): Numbers of channels of the levels, from
            fine to coarse.
        feat_channels (int): Number F of channels of the inner maps and of the
            memory levels. Defaults to 256.
        out_channels (int): Number of channels of the mask features. Defaults
            to 256.
        num_outs (int): Number of memory levels, from the coarsest on.
            Defaults to 3.
        upsample (bool): Whether each block's output is up-sampled to twice
            its level's resolution, as in DPT. Levels at strides 3.5, 7, 14,
            28 then give memory levels at strides 14, 7, 3.5 and mask features
            at 1.75; this is the layout of the authors' research code. False
            keeps the strides of the levels: 28, 14, 7 and 3.5. Defaults to
            False.
        norm_cfg (dict, optional): Config of the normalisation in the residual
            units; batch normalisation in the authors' research code. Defaults
            to no normalisation.
        encoder (dict, optional): Config whose
            ``layer_cfg.self_attn_cfg.num_levels`` has to equal ``num_outs``.
            The decoder has no encoder, but MMDet's ``Mask2FormerHead`` reads
            the number of memory levels there.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ValueError: if there are fewer levels than ``num_outs`` + 1, or
            ``encoder`` contradicts ``num_outs``.

    Example:
        >>> import torch
        >>> decoder = DPTPixelDecoder((8, 8, 8, 8), 4, 2)
        >>> feats = [torch.rand(1, 8, side, side) for side in (8, 4, 2, 1)]
        >>> mask_features, memory = decoder(feats)
        >>> mask_features.shape, [len(level[0, 0]) for level in memory]
        (torch.Size([1, 2, 8, 8]), [1, 2, 4])
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        feat_channels: int = 256,
        out_channels: int = 256,
        num_outs: int = 3,
        upsample: bool = False,
        norm_cfg: OptConfigType = None,
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
        self.upsample = upsample
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, feat_channels, 3, padding=1, bias=False)
            for channels in in_channels
        )
        self.fusions = nn.ModuleList(
            FusionBlock(feat_channels, norm_cfg) for _ in in_channels
        )
        self.mask_feature = nn.Conv2d(feat_channels, out_channels, 1)

    def init_weights(self) -> None:
        """Initialise by Xavier, as in Mask2Former's other pixel decoders."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                caffe2_xavier_init(module, bias=0)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode a pyramid.

        Args:
            feats (Sequence[Tensor]): (B, C_i, h_i, w_i) levels from fine to
                coarse.

        Returns:
            tuple: (B, C, h, w) mask features, and ``num_outs`` memory levels
            (B, F, h, w) from low to high resolution. Their sizes are those
            of the pyramid's levels; with ``upsample`` a memory level has the
            size of the next finer level, and the mask features have twice
            the size of the finest one.
        """
        out, above, outs = None, None, []
        for level in reversed(range(len(feats))):
            x = self.laterals[level](feats[level])
            out = self.fusions[level](x, above)
            if level:
                above = _upsample(out, feats[level - 1].shape[-2:])
                outs.append(above if self.upsample else out)
        mask_features = self.mask_feature(out)
        if self.upsample:
            height, width = mask_features.shape[-2:]
            # After the 1x1 convolution, which commutes with interpolation.
            mask_features = _upsample(mask_features, (2 * height, 2 * width))
        return mask_features, outs[: self.num_outs]
