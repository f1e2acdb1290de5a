# SPDX-License-Identifier: Apache-2.0
"""DistillMask2FormerHead computes what MMDet's head computes."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from point_streams import draw_same_points
from s4m.models.dense_heads import batched_point_losses


@pytest.fixture
def pair(shapes_config):
    """The same weights in our head and in MMDet's, with its own decoder."""
    cfg = shapes_config('supervised_shapes_5p').model
    ours = MODELS.build(cfg)
    stock = copy.deepcopy(cfg)
    stock.panoptic_head.type = 'Mask2FormerHead'
    stock.panoptic_head.pixel_decoder.type = 'MSDeformAttnPixelDecoder'
    stock = MODELS.build(stock)
    stock.load_state_dict(ours.state_dict())
    return ours, stock


@pytest.fixture
def restart_points(monkeypatch):
    return draw_same_points(monkeypatch)


def _samples(as_tensor: bool, num=(2, 1)):
    generator = torch.Generator().manual_seed(1)
    samples = []
    for n in num:
        masks = torch.rand(n, 64, 64, generator=generator) > 0.5
        sample = DetDataSample(
            metainfo=dict(img_shape=(64, 64), batch_input_shape=(64, 64))
        )
        if not as_tensor:
            masks = BitmapMasks(masks.numpy().astype('uint8'), 64, 64)
        sample.gt_instances = InstanceData(labels=torch.arange(n), masks=masks)
        samples.append(sample)
    return samples


@pytest.mark.parametrize('as_tensor', [False, True])
def test_loss__equals_mmdets(pair, as_tensor, restart_points):
    inputs = torch.randn(2, 3, 64, 64)
    restart_points()
    want = pair[1].loss(inputs, _samples(False))
    restart_points()
    got = pair[0].loss(inputs, _samples(as_tensor))
    assert got.keys() == want.keys()
    for key, value in want.items():
        torch.testing.assert_close(got[key], value.squeeze())


def test_predict__equals_mmdets(pair):
    inputs = torch.randn(2, 3, 64, 64)
    outs = []
    for model in pair:
        samples = _samples(True)
        for sample in samples:
            sample.set_metainfo(dict(ori_shape=(64, 64)))
        model.eval()
        with torch.no_grad():
            outs.append(model.predict(inputs, samples))
    for ours, stock in zip(*outs, strict=True):
        a, b = ours.pred_instances, stock.pred_instances
        assert torch.equal(a.labels, b.labels)
        assert torch.equal(a.masks, b.masks)
        torch.testing.assert_close(a.scores, b.scores)


def test_preprocess_gt__masks_stay_bool(pair):
    head = pair[0].panoptic_head
    for as_tensor in (False, True):
        gts = [s.gt_instances for s in _samples(as_tensor)]
        out = head.preprocess_gt(gts, [None] * len(gts))
        assert all(o.masks.dtype == torch.bool for o in out)
        assert [len(o.masks) for o in out] == [2, 1]


@pytest.mark.parametrize(
    'counts', [(1, 0, 0, 0), (2, 0, 3, 0), (0, 0, 0, 0), (1, 1, 1, 1)]
)
def test_loss__divides_by_the_objects_of_the_batch(pair, counts, monkeypatch):
    """Constant logits make the losses a formula, away from the borders.

    Every object covers its whole image and every query's mask logit is c:
    cross entropy log(1 + e^-c) and dice 1 - (2 N p + 1) / (N p + N + 1) for
    each object, summed and divided by the number of objects, at least 1.
    """
    monkeypatch.setattr(
        batched_point_losses,
        'uncertain_points',
        lambda logits, num, *args: 1.2 * torch.rand(len(logits), num, 2) - 0.6,
    )
    head = pair[0].panoptic_head
    c, num, points = 0.7, len(counts), head.num_points
    logits = torch.full((num, head.num_queries, 16, 16), c)
    scores = torch.zeros(num, head.num_queries, 9)
    gts = [
        InstanceData(
            labels=torch.arange(n), masks=torch.ones(n, 64, 64, dtype=bool)
        )
        for n in counts
    ]
    metas = [dict(img_shape=(64, 64))] * num
    losses = head.loss_by_feat([scores], [logits], gts, metas)
    p = torch.tensor(c).sigmoid()
    cross_entropy = 5 * torch.nn.functional.softplus(torch.tensor(-c))
    dice = 5 * (1 - (2 * points * p + 1) / (points * p + points + 1))
    if sum(counts) == 0:
        # MMDet's zero: the sum of no logits.
        assert losses['loss_mask'] == losses['loss_dice'] == 0
        return
    torch.testing.assert_close(losses['loss_mask'], cross_entropy)
    torch.testing.assert_close(losses['loss_dice'], dice)
