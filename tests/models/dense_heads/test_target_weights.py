# SPDX-License-Identifier: Apache-2.0
"""Weights of pseudo-labels in the losses of DistillMask2FormerHead."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import mask2former_head
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData


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
    # No trace of the weights stays in the losses.
    head = detector.panoptic_head
    assert not head.loss_mask._forward_pre_hooks
    assert not head.loss_dice._forward_pre_hooks
    assert not head._matched_weights


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
        mask2former_head,
        'get_uncertain_point_coords_with_randomness',
        lambda logits, _, num, *args: (
            0.2 + 0.6 * torch.rand(len(logits), num, 2)
        ),
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
    targets = []
    get_targets = head.get_targets
    monkeypatch.setattr(
        head,
        'get_targets',
        lambda *args: targets.append(get_targets(*args)) or targets[-1],
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
    torch.testing.assert_close(losses['loss_mask'].squeeze(), mask)
    torch.testing.assert_close(
        losses['loss_dice'].squeeze(), 5 * dice * weight.sum() / 3
    )
    labels = torch.stack(targets[0][0])
    share = torch.tensor([1.0] * 8 + [0.1])[labels]
    for i, item in enumerate(items):
        for label, value in zip(item.labels, item.weights, strict=True):
            share[i, labels[i] == label] *= value
    nll = -scores.log_softmax(-1).gather(2, labels[..., None])[..., 0]
    divisor = torch.tensor([1.0] * 8 + [0.1])[labels].sum()
    want = 2 * (nll * share).sum() / divisor
    torch.testing.assert_close(losses['loss_cls'].squeeze(), want)


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
