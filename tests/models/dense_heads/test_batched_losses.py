# SPDX-License-Identifier: Apache-2.0
"""Losses of all decoder layers at once are those of MMDet's heads."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from mmdet.models.dense_heads import (
    Mask2FormerHead,
    MaskFormerHead,
    mask2former_head,
    maskformer_head,
)
from mmdet.models.task_modules.assigners import (
    ClassificationCost,
    DiceCost,
    FocalLossCost,
)
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData
from point_streams import draw_same_points
from s4m.models import (
    BatchedMaskFormerHead,
    BatchedPointLossesMixin,
    DistillMask2FormerHead,
)
from s4m.models.dense_heads import batched_losses, mask_points
from s4m.structures import replace_fields
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

QUERIES, CLASSES = 12, 8
SOME = (3, 0, 2, 1)


class BatchedHead(BatchedPointLossesMixin, Mask2FormerHead):
    """MMDet's head with MMDet's count of objects."""


class CountingHead(Mask2FormerHead):
    """MMDet's loop with Mask2Former's count of objects."""

    def get_targets(self, scores, masks, items, *args, **kwargs):
        targets = super().get_targets(scores, masks, items, *args, **kwargs)
        return *targets[:4], sum(len(i.labels) for i in items), *targets[5:]


class OwnCost(DiceCost):
    """A cost that is not known by its class."""

    def __call__(self, pred_instances, gt_instances, img_meta=None, **kwargs):
        cost = super().__call__(pred_instances, gt_instances, img_meta)
        return cost * img_meta['factor']


@pytest.fixture
def restart_points(monkeypatch):
    return draw_same_points(monkeypatch)


def _build(kind: type, family: str = 'mask2former', **train_cfg):
    name = 'mask2former_nano' if family == 'mask2former' else 'maskformer_r50'
    model = Config.fromfile(f'configs/_base_/models/{name}.py').model
    cfg = model.panoptic_head
    del cfg.type
    if family == 'maskformer':
        for part in (cfg.pixel_decoder.encoder, cfg.transformer_decoder):
            part.num_layers = 1
    cfg.num_queries = QUERIES
    if (
        issubclass(kind, Mask2FormerHead)
        and kind is not DistillMask2FormerHead
    ):
        cfg.pixel_decoder.type = 'MSDeformAttnPixelDecoder'
    for name, value in train_cfg.items():
        model.train_cfg[name] = value
    if family == 'mask2former':
        model.train_cfg.num_points = 40
    return kind(**cfg, train_cfg=model.train_cfg, test_cfg=model.test_cfg)


def _inputs(counts, layers: int, dtype=torch.bool) -> tuple:
    """Logits of each layer, which are leaves, and objects of each image."""
    generator = torch.Generator().manual_seed(4)
    num = len(counts)

    def leaves(*shape):
        return [
            torch.randn(*shape, generator=generator).mul_(2).requires_grad_()
            for _ in range(layers)
        ]

    objects = [
        InstanceData(
            labels=torch.randint(CLASSES, (n,), generator=generator),
            masks=(torch.randn(n, 24, 32, generator=generator) > 0.5).to(
                dtype
            ),
        )
        for n in counts
    ]
    metas = [dict(img_shape=(24, 32), factor=1.5 + i) for i in range(num)]
    scores = leaves(num, QUERIES, CLASSES + 1)
    return scores, leaves(num, QUERIES, 6, 8), objects, metas


def _assert_equal(ours, stock, restart, *args, **kwargs) -> None:
    """Compare losses and their gradients."""
    results = []
    for head in (ours, stock):
        restart()
        scores, masks, *rest = _inputs(*args, **kwargs)
        losses = head.loss_by_feat(scores, masks, *rest)
        # Different factors, so that no two losses are confused.
        parts = [(1 + i) * v.sum() for i, v in enumerate(losses.values())]
        grads = torch.autograd.grad(sum(parts), [*scores, *masks])
        results.append((losses, grads))
    (got, got_grads), (want, want_grads) = results
    assert list(got) == list(want)
    for name, value in want.items():
        assert got[name].ndim == 0
        assert_close(got[name], value.squeeze(), rtol=1e-5, atol=1e-6)
    for grad, wanted in zip(got_grads, want_grads, strict=True):
        assert_close(grad, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('layers', [2, 10])
@pytest.mark.parametrize(
    'counts',
    [
        (0,),
        (1,),
        (5,),
        (300,),
        (0, 0, 0, 0),
        SOME,
        (0, 0, 0, 1),
        (300, 0, 1, 9),
    ],
    ids=str,
)
@pytest.mark.parametrize('count', ['mmdet', 'mask2former'])
def test_losses__equal_mmdets(counts, layers, count, restart_points):
    kinds = {
        'mmdet': (BatchedHead, Mask2FormerHead),
        'mask2former': (DistillMask2FormerHead, CountingHead),
    }[count]
    ours, stock = map(_build, kinds)
    _assert_equal(ours, stock, restart_points, counts, layers)


@pytest.mark.parametrize('layers_at_a_time', [1, 3])
def test_losses__in_chunks(layers_at_a_time, restart_points, monkeypatch):
    """Few elements at a time give the same numbers."""
    elements = len(SOME) * QUERIES * 40 * layers_at_a_time
    monkeypatch.setitem(batched_losses.MAX_ELEMENTS, 'cpu', elements)
    monkeypatch.setattr(mask_points, 'MAX_PIXELS', 2 * 24 * 32)
    ours, stock = _build(DistillMask2FormerHead), _build(CountingHead)
    _assert_equal(ours, stock, restart_points, SOME, 10)


@pytest.mark.parametrize('share', [1.0, 0.5])
def test_losses__other_shares_of_points(share, restart_points):
    options = dict(oversample_ratio=2.0, importance_sample_ratio=share)
    heads = (
        _build(kind, **options)
        for kind in (DistillMask2FormerHead, CountingHead)
    )
    _assert_equal(*heads, restart_points, SOME, 2)


@pytest.mark.parametrize('which', ['mask2former', 'maskformer'])
def test_losses__divisor_is_averaged(which, restart_points, monkeypatch):
    """Over the processes, as MMDet does; here half of this process's."""
    modules = batched_losses, mask2former_head, maskformer_head
    for module in modules:
        monkeypatch.setattr(module, 'reduce_mean', lambda num: num * 0.5)
    kinds = {
        'mask2former': (DistillMask2FormerHead, CountingHead),
        'maskformer': (BatchedMaskFormerHead, MaskFormerHead),
    }[which]
    ours, stock = (_build(kind, which) for kind in kinds)
    dtype = torch.bool if which == 'mask2former' else torch.long
    _assert_equal(ours, stock, restart_points, SOME, 2, dtype)


def test_losses__class_weights_and_other_losses(restart_points):
    heads = _build(DistillMask2FormerHead), _build(CountingHead)
    weight = torch.linspace(0.1, 1.7, CLASSES + 1).tolist()
    for head in heads:
        head.class_weight = head.loss_cls.class_weight = weight
        head.loss_mask.class_weight = [2.0]
        head.loss_dice.naive_dice = False
    heads[0].class_weights = torch.tensor(weight)
    _assert_equal(*heads, restart_points, SOME, 2)


def test_losses__ignored_labels(restart_points):
    """A loss with options of its own is called as it is."""
    heads = _build(DistillMask2FormerHead), _build(CountingHead)
    for head in heads:
        head.loss_cls.ignore_index = 3
    _assert_equal(*heads, restart_points, SOME, 2)


@pytest.mark.parametrize(
    'costs',
    [
        [FocalLossCost(binary_input=True, weight=3.0)],
        [FocalLossCost(weight=2.0)],
        [DiceCost(naive_dice=False, pred_act=True)],
        [OwnCost(pred_act=True), ClassificationCost(weight=0.5)],
        [ClassificationCost()],
    ],
    ids=['focal', 'class focal', 'squared dice', 'own', 'class'],
)
def test_matching__other_costs(costs, restart_points):
    heads = _build(DistillMask2FormerHead), _build(CountingHead)
    for head in heads:
        head.assigner.match_costs = costs
    _assert_equal(*heads, restart_points, SOME, 2)


@pytest.mark.parametrize('counts', [(0, 0), (1,), SOME, (40, 2)], ids=str)
def test_maskformer__equals_mmdets(counts, restart_points):
    ours = _build(BatchedMaskFormerHead, 'maskformer')
    stock = _build(MaskFormerHead, 'maskformer')
    assert ours.state_dict().keys() == stock.state_dict().keys()
    _assert_equal(ours, stock, restart_points, counts, 3, torch.long)
    assert isinstance(ours.assigner.match_costs[1], FocalLossCost)


def test_maskformer__reads_weights():
    head = _build(BatchedMaskFormerHead, 'maskformer')
    scores, masks, items, metas = _inputs(SOME, 2)
    losses = []
    for weight in (None, 0.25):
        for item in items:
            if weight is not None:
                item.weights = torch.full(item.labels.shape, weight)
        raw = [
            replace_fields(
                item, masks=BitmapMasks(item.masks.byte().numpy(), 24, 32)
            )
            for item in items
        ]
        targets = head.preprocess_gt(raw, [None] * len(raw))
        losses.append(head.loss_by_feat(scores, masks, targets, metas))
    for name, value in losses[0].items():
        if name.endswith('loss_cls'):
            assert losses[1][name] < value
        else:
            assert_close(losses[1][name], value * 0.25)


class _Calls(TorchDispatchMode):
    """Counts operators that a device launches or that the host waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not any(r.alias_info for r in func._schema.returns):
            self.names[func._overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def _calls(head, counts, layers=10) -> Counter:
    with _Calls() as calls:
        head.loss_by_feat(*_inputs(counts, layers))
    return calls.names


def test_calls__a_fifth_of_mmdets_and_no_wait():
    ours, stock = _build(DistillMask2FormerHead), _build(CountingHead)
    few, many = _calls(ours, (2, 2)), _calls(ours, (12, 12))
    assert few == many  # not more for more objects
    assert few.total() < _calls(stock, (2, 2)).total() / 5
    waits = ('_local_scalar_dense', 'nonzero', '_unique2', 'masked_select')
    assert not any(few[name] for name in waits)


def test_autocast__losses_are_fp32():
    head = _build(DistillMask2FormerHead)
    scores, masks, *rest = _inputs(SOME, 2)
    with torch.autocast('cpu', torch.bfloat16):
        losses = head.loss_by_feat(
            [s.bfloat16() for s in scores],
            [m.bfloat16() for m in masks],
            *rest,
        )
    assert all(v.dtype == torch.float32 for v in losses.values())
    sum(losses.values()).backward()
    assert all(m.grad.isfinite().all() for m in masks)


@pytest.mark.parametrize(
    ('name', 'kind'),
    [('assigner', 'TaskAlignedAssigner'), ('sampler', 'PseudoSampler')],
)
def test_other_parts__are_refused(name, kind):
    part = dict(type=kind, **(dict(topk=9) if name == 'assigner' else {}))
    with pytest.raises(
        ValueError, match=rf'train_cfg.{name} must be.* {kind}'
    ):
        _build(DistillMask2FormerHead, **{name: part})


def test_channels__at_the_same_points():
    """On a device all channels at once, which the CPU does one by one."""
    maps, points = torch.rand(2, 5, 6, 7), torch.rand(2, 9, 2) * 2 - 1
    wanted = torch.nn.functional.grid_sample(
        maps, points[:, None], align_corners=False
    )[:, :, 0]
    torch.testing.assert_close(mask_points.channels_at(maps, points), wanted)
