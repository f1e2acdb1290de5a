# SPDX-License-Identifier: Apache-2.0
"""The deformable pixel decoder in fp32, without waits of the host."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.registry import MODELS
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from s4m.structures.masks import spatial_size

from .encoder_attention import EncoderAttention

#: Number of geometries that a decoder keeps.
_KEPT = 4


@dataclass(frozen=True)
class Geometry:
    """What depends on the sizes of a pyramid, but not on its values.

    Attributes:
        sizes (tuple[tuple[int, int], ...]): (h, w) of the E levels that the
            encoder has, from coarse to fine.
        shapes (Tensor): (E, 2) int64, the sizes on the device.
        starts (Tensor): (E, ) int64 first position of each level among all L
            positions.
        positions (list[Tensor]): (1, C, h, w) position encoding of each
            level.
        reference_points (Tensor): (1, L, E, 2) centres of the positions,
            (x, y) in 0..1.
    """

    sizes: tuple[tuple[int, int], ...]
    shapes: Tensor
    starts: Tensor
    positions: list[Tensor]
    reference_points: Tensor


@MODELS.register_module()
class Fp32MSDeformAttnPixelDecoder(MSDeformAttnPixelDecoder):
    """Mask2Former's pixel decoder in fp32, also inside autocast.

    The CUDA deformable attention of mmcv has no bf16 kernel, and Mask2Former
    runs its decoder in fp32. Parameters, keys and results are those of
    MMDet's decoder, which copies the sizes of the levels to the device and
    back in each pass; here the host waits for nothing, and what depends on
    the sizes alone is kept for the next pass.

    Args:
        *args: Arguments of MMDet's ``MSDeformAttnPixelDecoder``.
        with_cp (bool): Whether the layers of the encoder recompute their
            activations in the backward pass, which saves memory and costs
            time. Defaults to False.
        **kwargs: Arguments of MMDet's ``MSDeformAttnPixelDecoder``.
    """

    def __init__(self, *args, with_cp: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.with_cp = with_cp
        for layer in self.encoder.layers:
            layer.self_attn = EncoderAttention(**layer.self_attn_cfg)
        self._geometries: dict[tuple, Geometry] = {}

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
            return self._decode([f.float() for f in feats])

    def _decode(self, feats: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        num_finer = self.num_input_levels - self.num_encoder_levels
        coarse = feats[num_finer:][::-1]
        geometry = self._geometry(coarse)
        projected = [
            conv(f) for conv, f in zip(self.input_convs, coarse, strict=True)
        ]
        positions = [
            p + level.view(1, -1, 1, 1)
            for p, level in zip(
                geometry.positions, self.level_encoding.weight, strict=True
            )
        ]
        memory = self._encode(_tokens(projected), _tokens(positions), geometry)
        counts = [height * width for height, width in geometry.sizes]
        outs = [
            part.unflatten(-1, size)
            for part, size in zip(
                memory.mT.split(counts, dim=-1), geometry.sizes, strict=True
            )
        ]
        for i, level in enumerate(reversed(feats[:num_finer])):
            lateral = self.lateral_convs[i](level)
            above = F.interpolate(
                outs[-1],
                lateral.shape[-2:],
                mode='bilinear',
                align_corners=False,
            )
            outs.append(self.output_convs[i](lateral + above))
        return self.mask_feature(outs[-1]), outs[: self.num_outs]

    def _encode(
        self, tokens: Tensor, positions: Tensor, geometry: Geometry
    ) -> Tensor:
        options = dict(
            query_pos=positions,
            key_padding_mask=None,
            spatial_shapes=geometry.shapes,
            reference_points=geometry.reference_points,
            level_start_index=geometry.starts,
            valid_ratios=None,
        )
        if not (self.with_cp and torch.is_grad_enabled()):
            return self.encoder(query=tokens, **options)
        for layer in self.encoder.layers:
            tokens = checkpoint(
                partial(layer, **options), tokens, use_reentrant=False
            )
        return tokens

    def _geometry(self, levels: list[Tensor]) -> Geometry:
        sizes = tuple(spatial_size(level) for level in levels)
        key = sizes, levels[0].device
        if key not in self._geometries:
            # Random crops of images of many sizes have many sizes.
            if len(self._geometries) == _KEPT:
                self._geometries.clear()
            self._geometries[key] = self._compute_geometry(*key)
        return self._geometries[key]

    @torch.inference_mode(False)
    @torch.no_grad()
    def _compute_geometry(
        self, sizes: tuple[tuple[int, int], ...], device: torch.device
    ) -> Geometry:
        positions, points = [], []
        for level, (height, width) in enumerate(sizes):
            valid = torch.zeros(1, height, width, dtype=torch.bool)
            positions.append(self.postional_encoding(valid.to(device)))
            index = self.num_input_levels - level - 1
            centres = self.point_generator.single_level_grid_priors(
                (height, width), index, device='cpu'
            )
            size = torch.tensor([width, height]) * torch.tensor(
                self.strides[index]
            )
            points.append(centres / size)
        shapes = torch.tensor(sizes)
        starts = shapes.prod(1).cumsum(0) - shapes.prod(1)
        reference = torch.cat(points)[None, :, None]
        return Geometry(
            sizes,
            shapes.to(device),
            starts.to(device),
            positions,
            reference.repeat(1, 1, len(sizes), 1).to(device),
        )


def _tokens(maps: list[Tensor]) -> Tensor:
    """Join (B, C, h, w) levels to (B, L, C) tokens."""
    return torch.cat([m.flatten(2).mT for m in maps], dim=1)
