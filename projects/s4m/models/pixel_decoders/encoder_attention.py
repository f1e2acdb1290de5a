# SPDX-License-Identifier: Apache-2.0
"""Multi-scale deformable self-attention of a pixel decoder's encoder."""

from __future__ import annotations

import torch
from mmcv.ops import multi_scale_deform_attn
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    multi_scale_deformable_attn_pytorch,
)
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class SampledAttention(Function):
    """mmcv's operator on a GPU, which computes in fp32 from any type.

    mmcv's own function would keep the values in fp32 for the backward pass.
    """

    @staticmethod
    def forward(
        ctx,
        values: Tensor,
        shapes: Tensor,
        starts: Tensor,
        locations: Tensor,
        weights: Tensor,
        im2col_step: int,
    ) -> Tensor:
        """Sample the values, see :class:`EncoderAttention`.

        Args:
            ctx: Context of autograd.
            values (Tensor): (B, L, heads, C / heads) values in any type.
            shapes (Tensor): (E, 2) int64 (h, w) of the levels.
            starts (Tensor): (E, ) int64 first position of each level.
            locations (Tensor): (B, L, heads, E, P, 2) fp32 (x, y) in 0..1.
            weights (Tensor): (B, L, heads, E, P) fp32 weights.
            im2col_step (int): Number of images that the kernel takes at once.

        Returns:
            Tensor: (B, L, C) in the type of the values.
        """
        ctx.save_for_backward(values, shapes, starts, locations, weights)
        ctx.im2col_step = im2col_step
        output = multi_scale_deform_attn.ext_module.ms_deform_attn_forward(
            values.float(),
            shapes,
            starts,
            locations,
            weights,
            im2col_step=im2col_step,
        )
        return output.to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        """Return the gradients of values, locations and weights."""
        values, shapes, starts, locations, weights = ctx.saved_tensors
        wide = values.float()
        grads = [torch.zeros_like(t) for t in (wide, locations, weights)]
        multi_scale_deform_attn.ext_module.ms_deform_attn_backward(
            wide,
            shapes,
            starts,
            locations,
            weights,
            grad.float().contiguous(),
            *grads,
            im2col_step=ctx.im2col_step,
        )
        of_values, of_locations, of_weights = grads
        return (
            of_values.to(values.dtype),
            None,
            None,
            of_locations,
            of_weights,
            None,
        )


class EncoderAttention(MultiScaleDeformableAttention):
    """mmcv's attention for an encoder, which never waits for the device.

    Parameters, keys and results are those of mmcv's class, whose ``forward``
    compares the number of positions with the sizes on the device, so that the
    host waits in each layer. Here both come from one source, the decoder.

    Tokens may be bf16. Locations, weights and the sampling stay in fp32: bf16
    would round a location to 1 / 256 of the image.
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
        level_widths: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        """Attend to P points around each reference point, on E levels.

        Args:
            query (Tensor): (B, L, C) tokens, of the type of the parameters.
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
            level_widths (Tensor): (E, 1, 2) fp32 (w, h) of the levels.
            **kwargs: Not used.

        Returns:
            Tensor: (B, L, C) tokens.
        """
        assert key_padding_mask is None and self.batch_first
        assert reference_points is not None and spatial_shapes is not None
        assert level_widths is not None
        batch, length, _ = query.shape
        heads = (batch, length, self.num_heads)
        per_head = (self.num_levels, self.num_points)
        values = self.value_proj(query).view(*heads, -1)
        identity = query if identity is None else identity
        if query_pos is not None:
            query = query + query_pos
        offsets = self.sampling_offsets(query).view(*heads, *per_head, 2)
        weights = self.attention_weights(query).view(*heads, -1)
        weights = weights.softmax(-1, torch.float32).view(*heads, *per_head)
        # Offsets in bf16 are promoted to fp32.
        centres = reference_points[:, :, None, :, None]
        locations = centres + offsets / level_widths
        if values.is_cuda:
            output = SampledAttention.apply(
                values,
                spatial_shapes,
                level_start_index,
                locations,
                weights,
                self.im2col_step,
            )
        else:
            output = multi_scale_deformable_attn_pytorch(
                values.float(), spatial_shapes, locations, weights
            ).to(values.dtype)
        output = self.dropout(self.output_proj(output))
        return output + identity
