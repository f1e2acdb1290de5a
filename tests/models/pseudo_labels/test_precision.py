# SPDX-License-Identifier: Apache-2.0
"""Right pseudo-labels and thresholds, against loops."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import InstanceData
from s4m.models.pseudo_labels.precision import (
    lowest_precise_thresholds,
    true_positives,
)


def _greedy(item, labels, masks, thr) -> list[bool]:
    """Greedy matching of the mask AP: each object is found once."""
    right = [False] * len(item)
    free = set(range(len(labels)))
    for i in sorted(range(len(item)), key=lambda i: -item.scores[i].item()):
        for j in sorted(free):
            inter = (item.masks[i] & masks[j]).sum().item()
            union = (item.masks[i] | masks[j]).sum().item()
            if item.labels[i] == labels[j] and inter > thr * union:
                right[i] = True
                free.remove(j)
                break
    return right


def test_true_positives__equals_greedy_matching():
    num = torch.zeros(2)
    for seed in range(100):
        draw = torch.Generator().manual_seed(seed)
        m = int(torch.randint(0, 5, (1,), generator=draw))
        n = int(torch.randint(0, 9, (1,), generator=draw))
        # Objects do not overlap: each pixel belongs to one of them or none.
        owner = torch.arange(48).reshape(6, 8) // 10
        masks = torch.stack([owner == j for j in range(m)] or [owner < 0])[:m]
        noise = torch.rand(n, 6, 8, generator=draw) > 0.95
        chosen = torch.randint(0, 5, (n,), generator=draw)
        item = InstanceData(
            labels=torch.randint(0, 2, (n,), generator=draw),
            scores=(torch.rand(n, generator=draw) * 4).round() / 4,
            masks=(owner[None] == chosen[:, None, None]) ^ noise,
        )
        labels = torch.randint(0, 2, (m,), generator=draw)
        got = true_positives(item, labels, masks, 0.5)
        assert got.tolist() == _greedy(item, labels, masks, 0.5)
        num += torch.tensor([got.sum(), n])
    assert 30 < num[0] < num[1] / 2


def test_true_positives__a_second_label_is_wrong():
    masks = torch.zeros(3, 4, 8, dtype=torch.bool)
    masks[0, :, :4] = masks[1, :, :3] = masks[2, :, 4:] = True
    item = InstanceData(
        labels=torch.tensor([1, 1, 0]),
        scores=torch.tensor([0.8, 0.9, 0.7]),
        masks=masks,
    )
    gt_labels, gt_masks = torch.tensor([1, 1]), masks[[0, 2]]
    got = true_positives(item, gt_labels, gt_masks, 0.5)
    # Of the first object's labels the better one counts; the third label has
    # another class than its object.
    assert got.tolist() == [False, True, False]


def test_thresholds__equal_a_loop():
    total = torch.randint(0, 6, (7, 20)).float()
    correct = (total * torch.rand(7, 20)).floor()
    total[0] = correct[0] = correct[1] = 0  # never seen; never right
    got = lowest_precise_thresholds(total, correct, 0.4)
    for k in range(7):
        want = 1.0
        for s in reversed(range(20)):
            above, right = total[k, s:].sum(), correct[k, s:].sum()
            if total[k, s] > 0 and right >= 0.4 * above:
                want = s / 20
        assert got[k].item() == pytest.approx(want)
    assert got[:2].tolist() == [1, 1]
    assert len(set(got.tolist())) > 2
