# SPDX-License-Identifier: Apache-2.0
"""Structural distillation against float64 loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from s4m.models.losses import StructuralDistillationLoss, similarity_rows


def test_similarity_rows__equals_float64_loop():
    features = torch.randn(2, 5, 8, 12)
    grid = (4, 4)
    index = torch.randint(16, (2, 3))
    rows = similarity_rows(features, index, grid)
    small = F.interpolate(
        features.double(), grid, mode='bilinear', align_corners=False
    )
    for b in range(2):
        for p in range(3):
            at = index[b, p].item()
            a = small[b, :, at // 4, at % 4].tolist()
            for t in range(16):
                c = small[b, :, t // 4, t % 4].tolist()
                dot = sum(x * y for x, y in zip(a, c, strict=True))
                want = dot / (math.hypot(*a) * math.hypot(*c))
                assert rows[b, p, t].item() == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize('beta', [1.0, 0.3])
def test_loss__equals_float64_huber(beta):
    pred, target = torch.randn(2, 3, 16), torch.randn(2, 3, 16)
    loss = StructuralDistillationLoss(beta=beta, loss_weight=0.5)
    total = 0.0
    for a, b in zip(
        pred.double().flatten().tolist(),
        target.double().flatten().tolist(),
        strict=True,
    ):
        d = abs(a - b)
        total += 0.5 * d * d / beta if d < beta else d - 0.5 * beta
    want = 0.5 * total / pred.numel()
    assert loss(pred, target).item() == pytest.approx(want, rel=1e-5)


def test_similarity_rows__gradient_reaches_features():
    features = torch.randn(1, 4, 8, 8, requires_grad=True)
    rows = similarity_rows(features, torch.tensor([[0, 5]]), (4, 4))
    rows[..., 3].sum().backward()
    assert features.grad.abs().sum() > 0


def test_similarity_rows__fp32_under_autocast():
    with torch.autocast('cpu', torch.bfloat16):
        rows = similarity_rows(
            torch.randn(1, 4, 8, 8).bfloat16(), torch.tensor([[1]]), (4, 4)
        )
    assert rows.dtype == torch.float32


def test_init__bad_beta():
    with pytest.raises(ValueError, match='beta'):
        StructuralDistillationLoss(beta=0)
