# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels that repeat another one."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import InstanceData
from s4m.evaluation import duplicate_labels


def _bars(*spans: tuple[int, int], height: int = 4) -> torch.Tensor:
    """Masks that cover some columns of a picture of 40 columns."""
    masks = torch.zeros(len(spans), height, 40, dtype=torch.bool)
    for mask, (first, end) in zip(masks, spans, strict=True):
        mask[:, first:end] = True
    return masks


def _item(scores: list[float], masks: torch.Tensor) -> InstanceData:
    return InstanceData(scores=torch.tensor(scores), masks=masks)


def _suppressed(scores: torch.Tensor, masks: torch.Tensor) -> list[bool]:
    """Greedy suppression, label by label."""
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        for k in kept:
            inter = int((masks[i] & masks[k]).sum())
            union = int((masks[i] | masks[k]).sum())
            if union and inter / union >= 0.5:
                break
        else:
            kept.append(i)
    return [i not in kept for i in range(len(scores))]


def test_duplicates__hand_made():
    """The label with the better score stays, whatever its place."""
    masks = _bars((0, 10), (0, 10), (20, 30), (15, 25), (0, 5))
    item = _item([0.7, 0.9, 0.8, 0.95, 0.6], masks)
    # (20, 30) and (15, 25) have an IoU of 1/3, (0, 5) and (0, 10) of 1/2.
    assert duplicate_labels([item]).tolist() == [
        True, False, False, False, True
    ]  # fmt: skip
    strict = duplicate_labels([item], iou_thr=0.51)
    assert strict.tolist() == [True, False, False, False, False]


def test_duplicates__of_a_duplicate_are_kept():
    """A, B, C in a row: B repeats A, C overlaps B alone and stays."""
    item = _item([0.9, 0.8, 0.7], _bars((0, 12), (4, 16), (8, 20)))
    assert duplicate_labels([item]).tolist() == [False, True, False]


def test_duplicates__images_are_separate():
    """An empty image and an empty mask are no duplicates."""
    first = _item([0.9], _bars((0, 10)))
    none = _item([], _bars())
    second = _item([0.8, 0.5, 0.4], _bars((0, 10), (3, 3), (3, 3)))
    assert not duplicate_labels([first, none, second]).any()
    assert duplicate_labels([none]).shape == (0,)
    assert duplicate_labels([none, none]).sum() == 0


def test_duplicates__any_size():
    """Quarter size, full size and both in a batch; large masks shrink."""
    small = _item([0.9, 0.8], _bars((0, 10), (1, 11)))
    large = small.clone()
    large.masks = large.masks.repeat_interleave(4, 1).repeat_interleave(4, 2)
    huge = _item([0.9, 0.8, 0.7], torch.zeros(3, 600, 1001).bool())
    huge.masks[:2, 100:400, 500:] = huge.masks[2, 400:, :100] = True
    assert duplicate_labels([huge]).tolist() == [False, True, False]
    for batch in ([small], [large], [small, large]):
        want = [False, True] * len(batch)
        assert duplicate_labels(batch).tolist() == want


@pytest.mark.parametrize('seed', range(5))
def test_duplicates__as_greedy_suppression(seed):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(0, 25, (30,), generator=generator).tolist()
    masks = _bars(*((a, a + 12) for a in first))
    scores = torch.rand(30, generator=generator)
    item = InstanceData(scores=scores, masks=masks)
    got = duplicate_labels([item]).tolist()
    assert got == _suppressed(scores, masks) and any(got)
