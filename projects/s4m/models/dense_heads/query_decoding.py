# SPDX-License-Identifier: Apache-2.0
"""Mask2Former's transformer decoder with less memory and fewer operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from mmdet.structures import SampleList
from torch import Tensor, nn

from s4m.structures.masks import spatial_size
from s4m.utils.cast_parameters import CastParameters, autocast_dtype

from .query_attention import QueryAttention

#: Layers whose products autocast computes in half precision.
_PRODUCTS = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)
#: Number of sizes whose position encodings are kept.
_KEPT = 4


class QueryDecodingMixin:
    """Mixin that runs the decoder of MMDet's ``Mask2FormerHead``.

    Parameters, keys and, but for rounding, results are those of MMDet's head.
    What all decoder layers share is made once and not in each layer: mask
    features and weights in autocast's type, keys and values of a level. The
    position encodings are kept for the next pass. Attention keeps no weights,
    and its masks are not repeated for each head.

    Args:
        *args: Arguments of the head.
        **kwargs: Arguments of the head.
    """

    if TYPE_CHECKING:
        cls_embed: nn.Module
        decoder_input_projs: nn.ModuleList
        decoder_positional_encoding: nn.Module
        level_embed: nn.Embedding
        mask_embed: nn.Module
        pixel_decoder: nn.Module
        query_embed: nn.Embedding
        query_feat: nn.Embedding
        transformer_decoder: Any

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for layer in self.transformer_decoder.layers:
            layer.self_attn = QueryAttention(**layer.self_attn_cfg)
            layer.cross_attn = QueryAttention(**layer.cross_attn_cfg)
        self._positions: dict[tuple, list[Tensor]] = {}

    def forward(
        self, x: list[Tensor], batch_data_samples: SampleList
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Predict classes and masks of all decoder layers.

        Args:
            x (list[Tensor]): (B, C_i, h_i, w_i) levels from fine to coarse.
            batch_data_samples (list[DetDataSample]): Not used.

        Returns:
            tuple: Lists, one item for the queries and one for each layer, of
            (B, Q, K + 1) class logits and of (B, Q, h, w) mask logits.
        """
        features, memory = self.pixel_decoder(x)
        dtype = autocast_dtype(features.device)
        if dtype is None:
            return self._decode(features, memory, features.dtype)
        parts = (
            self.transformer_decoder,
            self.decoder_input_projs,
            self.cls_embed,
            self.mask_embed,
        )
        layers = [
            module
            for part in parts
            for module in part.modules()
            if isinstance(module, _PRODUCTS)
        ]
        with CastParameters(layers, dtype):
            return self._decode(features.to(dtype), memory, dtype)

    def _decode(
        self, features: Tensor, memory: list[Tensor], dtype: torch.dtype
    ) -> tuple[list[Tensor], list[Tensor]]:
        memory = memory[: len(self.decoder_input_projs)]
        sizes = [spatial_size(level) for level in memory]
        positions = self._encodings(sizes, features.device)
        keys, values = [], []
        for level, project, embed, position in zip(
            memory,
            self.decoder_input_projs,
            self.level_embed.weight,
            positions,
            strict=True,
        ):
            value = project(level).flatten(2).mT + embed
            keys.append((value + position).to(dtype))
            values.append(value.to(dtype))
        query = self.query_feat.weight.expand(len(features), -1, -1)
        query_pos = self.query_embed.weight.expand(len(features), -1, -1)
        layers = self.transformer_decoder.layers
        outputs = [self._forward_head(query, features, sizes[0])]
        for index, layer in enumerate(layers):
            now, following = index % len(memory), (index + 1) % len(memory)
            query = layer(
                query=query,
                key=keys[now],
                value=values[now],
                query_pos=query_pos,
                cross_attn_mask=outputs[-1][2],
            )
            outputs.append(
                self._forward_head(query, features, sizes[following])
            )
        classes, masks, _ = zip(*outputs, strict=True)
        return list(classes), list(masks)

    def _forward_head(
        self,
        decoder_out: Tensor,
        mask_feature: Tensor,
        attn_mask_target_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict classes and masks of the queries.

        Args:
            decoder_out (Tensor): (B, Q, C) queries.
            mask_feature (Tensor): (B, C, h, w) mask features.
            attn_mask_target_size (tuple[int, int]): (h', w') of the level
                that the next layer attends to.

        Returns:
            tuple: (B, Q, K + 1) class logits, (B, Q, h, w) mask logits, and
            (B, Q, h' w') bool, true where a query does not attend: outside of
            its mask, nowhere if its mask is empty.
        """
        query = self.transformer_decoder.post_norm(decoder_out)
        classes = self.cls_embed(query)
        masks = torch.einsum(
            'bqc,bchw->bqhw', self.mask_embed(query), mask_feature
        )
        with torch.no_grad():
            logits = F.interpolate(
                masks,
                attn_mask_target_size,
                mode='bilinear',
                align_corners=False,
            )
            outside = logits.flatten(2).sigmoid() < 0.5
            outside &= ~outside.all(-1, keepdim=True)
        return classes, masks, outside

    @torch.inference_mode(False)
    @torch.no_grad()
    def _encodings(
        self, sizes: list[tuple[int, int]], device: torch.device
    ) -> list[Tensor]:
        """Return the (1, h w, C) position encodings of levels."""
        key = tuple(sizes), device
        if key not in self._positions:
            # Random crops of images of many sizes have many sizes.
            if len(self._positions) == _KEPT:
                self._positions.clear()
            encode = self.decoder_positional_encoding
            self._positions[key] = [
                encode(torch.zeros(1, *size, dtype=torch.bool, device=device))
                .flatten(2)
                .mT
                for size in sizes
            ]
        return self._positions[key]
