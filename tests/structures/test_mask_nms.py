# SPDX-License-Identifier: Apache-2.0
"""Greedy suppression of masks against loops over pixels and pairs."""

from __future__ import annotations

import pytest
import torch
from s4m.structures import masks as masks_module
from s4m.structures.masks import mask_nms, pairwise_iou
from torch._subclasses import FakeTensorMode


def _iou(a: torch.Tensor, b: torch.Tensor) -> float:
    first, second = (
        {tuple(p) for p in mask.nonzero().tolist()} for mask in (a, b)
    )
    union = first | second
    return len(first & second) / len(union) if union else 0.0


def _naive(masks, scores, iou_thr, valid=None) -> list[bool]:
    """The definition: from the best score on, keep what no kept mask hits."""
    scores = scores.tolist()
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if valid is not None and not valid[i]:
            continue
        if all(_iou(masks[i], masks[k]) <= iou_thr for k in kept):
            kept.append(i)
    return [i in kept for i in range(len(scores))]


def _case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random boxes with equal scores, equal masks and empty masks."""
    draw = torch.Generator().manual_seed(seed)

    def rand(*size):
        return torch.rand(*size, generator=draw)

    n = int(rand(1) * 12)
    masks = torch.zeros(n, 6, 7, dtype=torch.bool)
    for mask in masks:
        y, x = (rand(2) * 4).long().tolist()
        mask[y : y + 1 + int(rand(1) * 4), x : x + 1 + int(rand(1) * 5)] = True
        mask &= rand(1) > 0.1
    if n > 2:
        masks[1] = masks[0]
    return masks, (rand(n) * 5).round() / 5, rand(n) > 0.2


def test_mask_nms__equals_naive_loop():
    suppressed = 0
    for seed in range(200):
        masks, scores, valid = _case(seed)
        for thr in (0.0, 0.3, 0.5):
            got = mask_nms(masks, scores, thr)
            assert got.tolist() == _naive(masks, scores, thr)
            suppressed += int((~got).sum())
            got = mask_nms(masks, scores, thr, valid)
            assert got.tolist() == _naive(masks, scores, thr, valid)
    assert suppressed > 500


def test_mask_nms__long_chain():
    """Each mask overlaps only its neighbours: every second one stays."""
    masks = torch.zeros(25, 1, 60, dtype=torch.bool)
    for i, mask in enumerate(masks):
        mask[0, 2 * i : 2 * i + 4] = True
    scores = torch.linspace(1, 0.1, 25)
    keep = mask_nms(masks, scores, 0.2)
    assert keep.tolist() == [i % 2 == 0 for i in range(25)]
    # The order of the masks does not matter, only that of the scores.
    order = torch.randperm(25)
    assert torch.equal(mask_nms(masks[order], scores[order], 0.2), keep[order])


def test_mask_nms__batch_is_each_image():
    masks = torch.rand(3, 9, 8, 8) > 0.5
    scores = torch.rand(3, 9)
    both = mask_nms(masks, scores, 0.34)
    for i in range(3):
        assert torch.equal(both[i], mask_nms(masks[i], scores[i], 0.34))


def test_mask_nms__host_does_not_wait():
    """A fake tensor has no values that the host could read."""
    with FakeTensorMode():
        masks = torch.zeros(2, 20, 16, 16, dtype=torch.bool)
        keep = mask_nms(masks, torch.zeros(2, 20), 0.5)
        assert keep.shape == (2, 20)


def test_pairwise_iou__parts_and_autocast(monkeypatch):
    """Areas above 2048 pixels are exact in half precision too."""
    a, b = torch.rand(3, 90, 70) > 0.2, torch.rand(4, 90, 70) > 0.4
    want = torch.tensor([[_iou(x, y) for y in b] for x in a])
    monkeypatch.setattr(masks_module, '_PIXELS', 1000)
    with torch.autocast('cpu', torch.bfloat16):
        got = pairwise_iou(a, b)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


@pytest.mark.parametrize(('n', 'm'), [(0, 0), (0, 3), (3, 0)])
def test_pairwise_iou__no_mask(n, m):
    a = torch.ones(n, 4, 4, dtype=torch.bool)
    b = torch.ones(m, 4, 4, dtype=torch.bool)
    assert pairwise_iou(a, b).shape == (n, m)
