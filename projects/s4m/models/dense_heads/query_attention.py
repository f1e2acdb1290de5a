# SPDX-License-Identifier: Apache-2.0
"""Attention of queries, which keeps no matrix of weights."""

from __future__ import annotations

import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import MultiheadAttention
from torch import Tensor


class QueryAttention(MultiheadAttention):
    """mmcv's attention by PyTorch's fused operator.

    mmcv asks PyTorch for the weights of the attention, which nobody reads:
    they are computed in steps, and the (B x heads, Q, L) matrices of all
    layers stay in memory for the backward pass. Parameters, keys and, but for
    rounding, results are those of mmcv's class.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        identity: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_pos: Tensor | None = None,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        """Attend to keys, and add the result to the queries.

        Args:
            query (Tensor): (B, Q, C) queries.
            key (Tensor, optional): (B, L, C) keys. Defaults to None, the
                queries.
            value (Tensor, optional): (B, L, C) values. Defaults to None, the
                keys.
            identity (Tensor, optional): (B, Q, C) that the result is added
                to. Defaults to None, the queries.
            query_pos (Tensor, optional): (B, Q, C) position encoding of the
                queries. Defaults to None.
            key_pos (Tensor, optional): (B, L, C) position encoding of the
                keys. Defaults to None, none.
            attn_mask (Tensor, optional): (B, Q, L) bool, true where a query
                does not attend, equal for all heads. Defaults to None.
            key_padding_mask (Tensor, optional): Must be None, since maps are
                not padded.
            **kwargs: Not used.

        Returns:
            Tensor: (B, Q, C).
        """
        assert self.batch_first and key_padding_mask is None
        attn, identity = self.attn, query if identity is None else identity
        key = query if key is None else key
        value = key if value is None else value
        weights, biases = attn.in_proj_weight, attn.in_proj_bias
        width = self.embed_dims
        same = key is query and key_pos is query_pos
        query = query if query_pos is None else query + query_pos
        if same:  # one product for both
            both = (2 * width, width)
            w, b = weights.split(both), biases.split(both)
            q, k = F.linear(query, w[0], b[0]).split(width, -1)
        else:
            key = key if key_pos is None else key + key_pos
            w, b = weights.split(width), biases.split(width)
            q, k = F.linear(query, w[0], b[0]), F.linear(key, w[1], b[1])
        v = F.linear(value, w[-1], b[-1])
        q, k, v = (
            x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x in (q, k, v)
        )
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            # PyTorch's operator takes what is attended to.
            None if attn_mask is None else ~attn_mask[:, None],
            attn.dropout if self.training else 0.0,
        )
        out = attn.out_proj(out.transpose(1, 2).flatten(2))
        return identity + self.dropout_layer(self.proj_drop(out))
