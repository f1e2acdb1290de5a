# SPDX-License-Identifier: Apache-2.0
"""Multi-scale deformable self-attention of a pixel decoder's encoder."""

from __future__ import annotations

from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from torch import Tensor


class EncoderAttention(MultiScaleDeformableAttention):
    """mmcv's attention for an encoder, which never waits for the device.

    Parameters, keys and results are those of mmcv's class, whose ``forward``
    compares the number of positions with the sizes on the device, so that the
    host waits in each layer. Here both come from one source, the decoder.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        identity: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        reference_points: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        level_start_index: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        """Attend to P points around each reference point, on E levels.

        Args:
            query (Tensor): (B, L, C) tokens.
            key (Tensor, optional): Not used.
            value (Tensor, optional): Not used; the queries are the values.
            identity (Tensor, optional): (B, L, C) that the result is added
                to. Defaults to None, the queries.
            query_pos (Tensor): (1, L, C) or (B, L, C) position encoding.
            key_padding_mask (Tensor, optional): Must be None, since maps are
                not padded.
            reference_points (Tensor): (1, L, E, 2) or (B, L, E, 2), (x, y) in
                0..1.
            spatial_shapes (Tensor): (E, 2) int64 (h, w) of the levels, of
                which the sum of h x w is L.
            level_start_index (Tensor): (E, ) int64 first position of each
                level.
            **kwargs: Not used.

        Returns:
            Tensor: (B, L, C) tokens.
        """
        assert key_padding_mask is None and self.batch_first
        assert reference_points is not None and spatial_shapes is not None
        batch, length, _ = query.shape
        heads = (batch, length, self.num_heads)
        per_head = (self.num_levels, self.num_points)
        values = self.value_proj(query).view(*heads, -1)
        identity = query if identity is None else identity
        if query_pos is not None:
            query = query + query_pos
        offsets = self.sampling_offsets(query).view(*heads, *per_head, 2)
        weights = self.attention_weights(query).view(*heads, -1)
        weights = weights.softmax(-1).view(*heads, *per_head)
        sizes = spatial_shapes.flip(1)[:, None]
        locations = reference_points[:, :, None, :, None] + offsets / sizes
        if values.is_cuda:
            output = MultiScaleDeformableAttnFunction.apply(
                values,
                spatial_shapes,
                level_start_index,
                locations,
                weights,
                self.im2col_step,
            )
        else:
            output = multi_scale_deformable_attn_pytorch(
                values, spatial_shapes, locations, weights
            )
        output = self.dropout(self.output_proj(output))
        return output + identity
