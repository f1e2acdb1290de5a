# SPDX-License-Identifier: Apache-2.0
"""The deformable pixel decoder in fp32 or bf16, without waits of the host."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from s4m.structures.masks import spatial_size
from s4m.utils.cast_parameters import CastParameters, autocast_dtype

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
        widths (Tensor): (E, 1, 2) fp32 (w, h) of the levels.
        starts (Tensor): (E, ) int64 first position of each level among all L
            positions.
        positions (list[Tensor]): (1, C, h, w) position encoding of each
            level.
        reference_points (Tensor): (1, L, E, 2) centres of the positions,
            (x, y) in 0..1.
    """

    sizes: tuple[tuple[int, int], ...]
    shapes: Tensor
    widths: Tensor
    starts: Tensor
    positions: list[Tensor]
    reference_points: Tensor


@MODELS.register_module()
class Fp32MSDeformAttnPixelDecoder(MSDeformAttnPixelDecoder):
    """Mask2Former's pixel decoder, which samples in fp32, also in autocast.

    Mask2Former runs its pixel decoder in fp32, and so does this class without
    autocast and inside autocast in fp16, whose range the sums of the pyramid
    may exceed. Inside autocast in bf16, which has the range of fp32, layers,
    norms and convolutions run in bf16 with parameters that are cast once; the
    deformable sampling, its locations and its weights stay in fp32
    (:class:`.EncoderAttention`). ``bf16=False`` keeps fp32 there as well.

    Parameters, keys and results are those of MMDet's decoder, which copies
    the sizes of the levels to the device and back in each pass; here the host
    waits for nothing, and what depends on the sizes alone is kept for the
    next pass.

    Args:
        *args: Arguments of MMDet's ``MSDeformAttnPixelDecoder``.
        with_cp (bool): Whether the layers of the encoder recompute their
            activations in the backward pass, which saves memory and costs
            time. Defaults to False.
        bf16 (bool): Whether to compute in bf16 where autocast does. Defaults
            to True.
        **kwargs: Arguments of MMDet's ``MSDeformAttnPixelDecoder``.
    """

    def __init__(
        self, *args, with_cp: bool = False, bf16: bool = True, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        self.with_cp = with_cp
        self.bf16 = bf16
        for layer in self.encoder.layers:
            layer.self_attn = EncoderAttention(**layer.self_attn_cfg)
        self._geometries: dict[tuple, Geometry] = {}

    def forward(self, feats: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode a pyramid.

        Args:
            feats (list[Tensor]): (B, C_i, h_i, w_i) levels from fine to
                coarse.

        Returns:
            tuple: (B, C, h, w) mask features and the memory levels, from low
            to high resolution, in fp32 or bf16.
        """
        device = feats[0].device
        dtype = torch.float32
        if self.bf16 and autocast_dtype(device) == torch.bfloat16:
            dtype = torch.bfloat16
        with (
            torch.autocast(device.type, enabled=False),
            CastParameters(self.modules(), dtype) as cast,
        ):
            return self._decode([f.to(dtype) for f in feats], cast)

    def _decode(
        self, feats: list[Tensor], cast: CastParameters
    ) -> tuple[Tensor, list[Tensor]]:
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
        tokens = _tokens(projected)
        memory = self._encode(
            tokens, _tokens(positions).to(tokens.dtype), geometry, cast
        )
        counts = [height * width for height, width in geometry.sizes]
        outs = [
            part.unflatten(-1, size)
            for part, size in zip(
                memory.mT.split(counts, dim=-1), geometry.sizes, strict=True
            )
        ]
        for i, level in enumerate(reversed(feats[:num_finer])):
            lateral = self.lateral_convs[i](level)
            # In fp32, since its backward pass adds up gradients.
            above = F.interpolate(
                outs[-1].float(),
                lateral.shape[-2:],
                mode='bilinear',
                align_corners=False,
            )
            level = (lateral + above).to(lateral.dtype)
            outs.append(self.output_convs[i](level))
        return self.mask_feature(outs[-1]), outs[: self.num_outs]

    def _encode(
        self,
        tokens: Tensor,
        positions: Tensor,
        geometry: Geometry,
        cast: CastParameters,
    ) -> Tensor:
        options = dict(
            query_pos=positions,
            key_padding_mask=None,
            spatial_shapes=geometry.shapes,
            level_widths=geometry.widths,
            reference_points=geometry.reference_points,
            level_start_index=geometry.starts,
            valid_ratios=None,
        )
        if not (self.with_cp and torch.is_grad_enabled()):
            return self.encoder(query=tokens, **options)

        def run(layer: nn.Module, tokens: Tensor) -> Tensor:
            # The backward pass calls it again, after the decoder's block.
            with cast:
                return layer(tokens, **options)

        for layer in self.encoder.layers:
            tokens = checkpoint(run, layer, tokens, use_reentrant=False)
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
            shapes.flip(1)[:, None].float().to(device),
            starts.to(device),
            positions,
            reference.repeat(1, 1, len(sizes), 1).to(device),
        )


def _tokens(maps: list[Tensor]) -> Tensor:
    """Join (B, C, h, w) levels to (B, L, C) tokens."""
    return torch.cat([m.flatten(2).mT for m in maps], dim=1)
