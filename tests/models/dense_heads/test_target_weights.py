# SPDX-License-Identifier: Apache-2.0
"""Weights of pseudo-labels in the losses of DistillMask2FormerHead."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from s4m.models.dense_heads import batched_losses, batched_point_losses


@pytest.fixture
def detector(shapes_config):
    return MODELS.build(shapes_config('supervised_shapes_5p').model).eval()


def _samples(weights: list[list[float]] | None, counts=(2, 1)):
    generator = torch.Generator().manual_seed(1)
    samples = []
    for i, n in enumerate(counts):
        item = InstanceData(
            labels=torch.arange(n) + i,
            masks=torch.rand(n, 64, 64, generator=generator) > 0.5,
        )
        if weights is not None:
            item.weights = torch.tensor(weights[i])
        metainfo = dict(img_shape=(64, 64), batch_input_shape=(64, 64))
        samples.append(DetDataSample(metainfo=metainfo, gt_instances=item))
    return samples


def _losses(detector, weights, **kwargs) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    images = torch.randn(2, 3, 64, 64)
    return detector.loss(images, _samples(weights, **kwargs))


def test_loss__weights_of_one_change_nothing(detector):
    want = _losses(detector, None)
    got = _losses(detector, [[1.0, 1.0], [1.0]])
    assert got.keys() == want.keys()
    assert all(torch.equal(got[k], v) for k, v in want.items())


def test_loss__is_linear_in_each_weight(detector):
    none = _losses(detector, [[0.0, 0.0], [0.0]])
    parts = [
        _losses(detector, w)
        for w in (
            [[1.0, 0.0], [0.0]],
            [[0.0, 1.0], [0.0]],
            [[0.0, 0.0], [1.0]],
        )
    ]
    mixed = _losses(detector, [[0.25, 0.5], [0.75]])
    for key, got in mixed.items():
        want = none[key] + sum(
            share * (part[key] - none[key])
            for share, part in zip((0.25, 0.5, 0.75), parts, strict=True)
        )
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
        kind = key.rpartition('.')[2]
        if kind != 'loss_cls':  # "no object" has the weight 1
            assert none[key] == 0
        assert all(part[key] > none[key] for part in parts)


def test_loss__hand_computed(detector, monkeypatch):
    """Constant logits make each loss a formula, away from the borders."""
    monkeypatch.setattr(
        batched_point_losses,
        'uncertain_points',
        lambda logits, num, *args: 1.2 * torch.rand(len(logits), num, 2) - 0.6,
    )
    head = detector.panoptic_head
    c, points, weight = 0.7, head.num_points, torch.tensor([0.5, 0.2, 0.9])
    scores = torch.randn(2, head.num_queries, 9)
    items = [
        InstanceData(
            labels=torch.arange(n),
            masks=torch.ones(n, 64, 64, dtype=torch.bool),
            weights=w,
        )
        for n, w in ((2, weight[:2]), (1, weight[2:]))
    ]
    matches = []
    assign = batched_losses.assign
    monkeypatch.setattr(
        batched_losses,
        'assign',
        lambda *args: matches.append(assign(*args)) or matches[-1],
    )
    losses = head.loss_by_feat(
        [scores],
        [torch.full((2, head.num_queries, 16, 16), c)],
        items,
        [dict(img_shape=(64, 64))] * 2,
    )
    p = torch.tensor(c).sigmoid()
    mask = 5 * F.softplus(torch.tensor(-c)) * weight.sum() / 3
    dice = 1 - (2 * points * p + 1) / (points * p + points + 1)
    torch.testing.assert_close(losses['loss_mask'], mask)
    torch.testing.assert_close(
        losses['loss_dice'], 5 * dice * weight.sum() / 3
    )
    labels = torch.full((2, head.num_queries), 8)
    share = torch.full((2, head.num_queries), 0.1)
    of_objects = torch.cat([item.labels for item in items])
    for query, target in zip(
        matches[0].queries[0], matches[0].targets[0], strict=True
    ):
        image, query = divmod(int(query), head.num_queries)
        assert image == int(target >= 2)  # the third object's image
        labels[image, query] = of_objects[target]
        share[image, query] = weight[target]
    nll = -scores.log_softmax(-1).gather(2, labels[..., None])[..., 0]
    divisor = torch.tensor([1.0] * 8 + [0.1])[labels].sum()
    want = 2 * (nll * share).sum() / divisor
    torch.testing.assert_close(losses['loss_cls'], want)


def test_loss__images_without_weights_count_fully(detector):
    """Labelled and pseudo-labelled images in one batch."""
    want = _losses(detector, [[1.0, 1.0], [0.25]])
    torch.manual_seed(2)
    images, samples = torch.randn(2, 3, 64, 64), _samples([[0, 0], [0.25]])
    del samples[0].gt_instances.weights
    got = detector.loss(images, samples)
    assert all(torch.equal(got[k], v) for k, v in want.items())


@pytest.mark.parametrize('counts', [(0, 0), (1, 0), (0, 1)])
def test_loss__few_objects(detector, counts):
    weights = [[0.5] * n for n in counts]
    losses = _losses(detector, weights, counts=counts)
    assert all(torch.isfinite(v).all() for v in losses.values())
    sum(v.sum() for v in losses.values()).backward()
    unused = [n for n, p in detector.named_parameters() if p.grad is None]
    assert not unused


def test_loss__autocast(detector):
    with torch.autocast('cpu', torch.bfloat16):
        losses = _losses(detector, [[0.5, 0.5], [0.5]])
    assert all(v.dtype == torch.float32 for v in losses.values())
    assert all(torch.isfinite(v).all() for v in losses.values())


def test_student__that_ignores_weights_is_refused(shapes_config):
    """MMDet's own head would train as if there were none."""
    cfg = shapes_config('guided_distillation_shapes_5p').model
    cfg.teacher_checkpoint = None
    cfg.pseudo_labeler.update(weight_by='score', cls_thr=0.0)
    cfg.detector.panoptic_head.type = 'Mask2FormerHead'
    model = MODELS.build(cfg).train()
    model.unsup_weight = 1.0
    model.student.loss = lambda *_: {}
    inputs = dict.fromkeys(
        ('sup', 'unsup_teacher', 'unsup_student'), torch.rand(2, 3, 64, 64)
    )
    with pytest.raises(
        ValueError, match='Mask2Former of the student does not'
    ):
        model.loss(inputs, {key: _samples(None) for key in inputs})
