# SPDX-License-Identifier: Apache-2.0
"""Which images update the student's BatchNorm statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from s4m.models.detectors.batch_norm_statistics import untouched_statistics
from torch import nn


def _layers(kind=nn.BatchNorm2d) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), kind(4), nn.ReLU(), nn.Conv2d(4, 2, 1), kind(2)
    )


@pytest.mark.parametrize('momentum', [0.1, None])
@pytest.mark.parametrize('kind', [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_context__statistics_of_the_other_pass_only(kind, momentum):
    """Outputs and gradients are those of a plain pass."""
    network = _layers(kind)
    for layer in network:
        if isinstance(layer, kind):
            layer.momentum = momentum
    first, second = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8) * 9
    once, twice = copy.deepcopy(network), copy.deepcopy(network)
    once(first).square().sum().backward()
    out = [twice(first), twice(second)]
    sum(o.square().sum() for o in out).backward()
    got = network(first)
    with untouched_statistics(network):
        other = network(second)
    assert torch.equal(got, out[0]) and torch.equal(other, out[1])
    (got.square().sum() + other.square().sum()).backward()
    for a, b in zip(network.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for (name, a), b in zip(
        network.named_buffers(), once.buffers(), strict=True
    ):
        assert torch.equal(a, b), name
    assert network[1].num_batches_tracked == 1
    assert twice[1].num_batches_tracked == 2


def test_context__layers_in_eval_mode_and_errors():
    network = _layers()
    network[1].eval()
    images = torch.rand(2, 3, 8, 8)
    want = network(images)
    with untouched_statistics(network):
        torch.testing.assert_close(network(images), want)
    with pytest.raises(KeyError), untouched_statistics(network):
        raise KeyError
    assert network[1].track_running_stats and network[4].track_running_stats
    before = network[4].running_mean.clone()
    with untouched_statistics(network, enabled=False):
        network(images)
    assert not torch.equal(network[4].running_mean, before)


def _model_config(shapes_config, **semi_train_cfg):
    cfg = shapes_config('guided_distillation_shapes_5p').model
    cfg.teacher_checkpoint = None
    cfg.semi_train_cfg.update(semi_train_cfg)
    return cfg


@pytest.mark.parametrize('bn_stats', ['labeled', 'all'])
def test_loss__statistics_of_labeled_images(shapes_config, bn_stats):
    model = MODELS.build(_model_config(shapes_config, bn_stats=bn_stats))
    model.train().unsup_weight = 1.0
    images, samples = {}, {}
    for i, branch in enumerate(('sup', 'unsup_teacher', 'unsup_student')):
        images[branch] = torch.rand(2, 3, 64, 64) * 80 * (i + 1)
        metainfo = dict(img_shape=(64, 64), batch_input_shape=(64, 64))
        gt = InstanceData(
            labels=torch.tensor([1]),
            masks=torch.ones(1, 64, 64, dtype=torch.bool),
        )
        samples[branch] = [
            DetDataSample(metainfo=metainfo, gt_instances=gt) for _ in range(2)
        ]
    alone = copy.deepcopy(model.student)
    alone.loss(
        model.data_preprocessor.normalize(images['sup']), samples['sup']
    )
    model.loss(images, samples)
    same = [
        torch.equal(a, b)
        for a, b in zip(model.student.buffers(), alone.buffers(), strict=True)
    ]
    assert all(same) == (bn_stats == 'labeled')


def test_bn_stats__bad_value(shapes_config):
    cfg = _model_config(shapes_config, bn_stats='labelled')
    with pytest.raises(ValueError, match=r"bn_stats .*got 'labelled'"):
        MODELS.build(cfg)
    cfg.semi_train_cfg.bn_stats = 'labeled'
    cfg.detector.backbone.with_cp = True
    with pytest.raises(ValueError, match=r'backbone.* with_cp=True'):
        MODELS.build(cfg)
    cfg.detector.backbone.update(with_cp=False, norm_eval=True)
    with pytest.raises(ValueError, match=r'has no effect.*norm_eval'):
        MODELS.build(cfg)
