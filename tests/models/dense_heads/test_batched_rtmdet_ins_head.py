# SPDX-License-Identifier: Apache-2.0
"""BatchedRTMDetInsHead equals MMDet's head, and weights objects."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.assigners import dynamic_soft_label_assigner
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from s4m.apis import get_config
from s4m.models.dense_heads.mask_pieces import center_of_mass

SIDE = 128


@pytest.fixture(scope='module')
def heads() -> dict:
    """MMDet's and this project's head with equal, random parameters."""
    torch.manual_seed(0)
    cfg = get_config('supervised_rtmdet_ins_nuclei_14p').model
    made = {}
    for kind in ('RTMDetInsSepBNHead', 'BatchedRTMDetInsHead'):
        part = copy.deepcopy(cfg.bbox_head)
        part.update(type=kind, train_cfg=cfg.train_cfg, test_cfg=cfg.test_cfg)
        made[kind] = MODELS.build(part)
    stock, ours = made.values()
    stock.init_weights()
    for layer in [*stock.rtm_kernel, *stock.rtm_cls]:
        torch.nn.init.normal_(layer.weight, std=0.3)
    ours.load_state_dict(stock.state_dict(), strict=True)
    return made


def features(batch: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, 48, SIDE // s, SIDE // s, generator=generator)
        for s in (4, 8, 16)
    ]


def samples(counts: list[int]) -> list[DetDataSample]:
    """Images with as many rectangles."""
    draw = np.random.default_rng(0)
    out = []
    for number in counts:
        masks = np.zeros((number, SIDE, SIDE), np.uint8)
        boxes = torch.zeros(number, 4)
        for i in range(number):
            x, y = draw.integers(0, SIDE - 40, 2)
            w, h = draw.integers(8, 40, 2)
            masks[i, y : y + h, x : x + w] = 1
            boxes[i] = torch.tensor([x, y, x + w, y + h])
        size = (SIDE, SIDE)
        sample = DetDataSample(
            metainfo=dict(
                img_shape=size, pad_shape=size, batch_input_shape=size
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.zeros(number, dtype=torch.long),
            masks=BitmapMasks(masks, SIDE, SIDE),
        )
        out.append(sample)
    return out


def losses(head: torch.nn.Module, data: list) -> dict[str, torch.Tensor]:
    found = head.loss(features(len(data)), copy.deepcopy(data))
    return {k: sum(v) if isinstance(v, list) else v for k, v in found.items()}


@pytest.mark.parametrize('counts', [[7, 12], [0, 5], [0, 0]])
def test_losses_and_gradients_are_mmdets(heads: dict, counts: list) -> None:
    values, gradients = [], []
    for head in heads.values():
        # Statistics of small batches enlarge rounding.
        head.eval().zero_grad()
        found = losses(head, samples(counts))
        sum(found.values()).backward()
        values.append(found)
        gradients.append(
            {
                k: p.grad.clone()
                for k, p in head.named_parameters()
                if p.grad is not None
            }
        )
    torch.testing.assert_close(values[1], values[0], rtol=1e-5, atol=1e-5)
    stock, ours = gradients
    assert ours.keys() == stock.keys()
    for name, want in stock.items():
        error = (ours[name] - want).abs().max()
        assert error <= 1e-3 * want.abs().max() + 1e-6, name


@pytest.mark.parametrize(
    ('scale', 'size', 'rescale'),
    [
        ((1.0, 1.0), (120, 126), True),
        ((0.5, 0.5), (240, 252), True),
        ((1.3, 1.3), (92, 96), True),
        ((1.0, 1.0), (120, 126), False),
    ],
)
def test_predictions_are_mmdets(
    heads: dict, scale: tuple, size: tuple, rescale: bool
) -> None:
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(120, 126),
            ori_shape=size,
            batch_input_shape=(SIDE, SIDE),
            scale_factor=scale,
        )
    )
    results = []
    for head in heads.values():
        head.eval()
        head.test_cfg.score_thr = 0.0
        with torch.no_grad():
            (pred,) = head.predict(features(1), [sample], rescale=rescale)
        results.append(pred)
    stock, ours = results
    assert len(ours) > 20
    assert 0.05 < stock.masks.float().mean() < 0.95
    assert torch.equal(ours.scores, stock.scores)
    assert torch.equal(ours.bboxes, stock.bboxes)
    # A logit within rounding of the threshold may differ.
    assert ours.masks.shape == stock.masks.shape
    assert (ours.masks != stock.masks).float().mean() < 1e-5


def test_no_prediction_has_no_mask(heads: dict) -> None:
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(120, 126), ori_shape=(60, 63), scale_factor=(2.0, 2.0)
        )
    )
    for head in heads.values():
        head.eval()
        head.test_cfg.score_thr = 1.1
        with torch.no_grad():
            (pred,) = head.predict(features(1), [sample], rescale=True)
        assert pred.masks.shape == (0, 60, 63)


def test_centers_of_mass_are_mmdets() -> None:
    masks = torch.rand(5, 17, 31, generator=torch.Generator().manual_seed(0))
    masks = masks > 0.7
    masks[2] = False
    torch.testing.assert_close(
        center_of_mass(masks),
        dynamic_soft_label_assigner.center_of_mass(masks),
    )


def test_weights_of_one_change_nothing_and_zero_removes(heads: dict) -> None:
    """A weight of 0 leaves the losses on the background."""
    head = heads['BatchedRTMDetInsHead'].train()
    data = samples([6, 3])
    plain = losses(head, data)
    by_weight = {}
    for weight in (1.0, 0.5, 0.0):
        for sample in data:
            number = len(sample.gt_instances)
            sample.gt_instances.weights = torch.full((number,), weight)
        by_weight[weight] = losses(head, data)
    torch.testing.assert_close(by_weight[1.0], plain)
    for name in ('loss_bbox', 'loss_mask'):
        torch.testing.assert_close(by_weight[0.5][name], plain[name] / 2)
        assert by_weight[0.0][name] == 0
    background = by_weight[0.0]['loss_cls']
    assert 0 < background < plain['loss_cls']
    torch.testing.assert_close(
        by_weight[0.5]['loss_cls'], (background + plain['loss_cls']) / 2
    )
