# SPDX-License-Identifier: Apache-2.0
"""Random input of L_pxl, and its weights by a loop."""

from __future__ import annotations

import math

import torch
from s4m.models.losses import PixelContrastiveLoss, PixelDescriptors
from torch import Tensor


def make_inputs(
    batch: int = 2,
    channels: int = 6,
    grid: tuple[int, int] = (3, 4),
    queries: int = 5,
    classes: int = 3,
) -> tuple[Tensor, ...]:
    """Weak and strong features, mask logits of 12 x 16, class logits."""
    return (
        torch.randn(batch, channels, *grid),
        torch.randn(batch, channels, *grid),
        3 * torch.randn(batch, queries, 12, 16),
        3 * torch.randn(batch, queries, classes + 1),
    )


def make_loss(**kwargs) -> PixelContrastiveLoss:
    """A small L_pxl for features of six channels."""
    kwargs = dict(hidden_channels=8, out_channels=4, loss_weight=1.0) | kwargs
    return PixelContrastiveLoss(6, **kwargs)


def weights_oracle(descriptors: PixelDescriptors, sampling: str) -> Tensor:
    """(M, M) by a loop over pairs, in float64."""

    def unit(values):
        norm = math.sqrt(sum(v * v for v in values))
        return [v / norm for v in values]

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    q = descriptors.queries.double().tolist()
    f = descriptors.classes.double().tolist()
    pixels = [(b, p) for b in range(len(q)) for p in range(len(q[0]))]
    out = torch.zeros(len(pixels), len(pixels), dtype=torch.float64)
    for i, (b, p) in enumerate(pixels):
        for j, (c, r) in enumerate(pixels):
            if i == j:
                continue
            if sampling == 'uniform' or (sampling == 'mask' and b != c):
                out[i, j] = 1
                continue
            if sampling == 'mask':
                pair = q[b][p], q[c][r]
            elif sampling == 'class' or b != c:
                pair = f[b][p], f[c][r]
            else:
                pair = q[b][p] + f[b][p], q[c][r] + f[c][r]
            out[i, j] = max(0, 1 - dot(unit(pair[0]), unit(pair[1])))
    return out
