# SPDX-License-Identifier: Apache-2.0
"""DPTPixelDecoder against DPT's own order, and in Mask2Former's place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from mmdet.registry import MODELS
from mmengine.config import Config
from s4m.models.pixel_decoders import DPTPixelDecoder

CHANNELS = (4, 6, 8, 10)


def _pyramid(batch=2, size=(12, 20), channels=CHANNELS):
    return [
        torch.randn(batch, c, -(-size[0] // 2**i), -(-size[1] // 2**i))
        for i, c in enumerate(channels)
    ]


def _unit(unit, x):
    """ResidualConvUnit: relu, conv, relu, conv, short cut."""
    y = F.conv2d(x.relu(), unit.conv1.weight, unit.conv1.bias, padding=1)
    y = F.conv2d(y.relu(), unit.conv2.weight, unit.conv2.bias, padding=1)
    return x + y


def test_forward__equals_dpts_order():
    """DPT: sum, refine, up-sample, then 1x1; here 1x1, then up-sample."""
    decoder = DPTPixelDecoder(CHANNELS, 16, 5).double()
    feats = [f.double() for f in _pyramid()]
    features, memory = decoder(feats)
    layers = [
        F.conv2d(f, lateral.weight, padding=1)
        for f, lateral in zip(feats, decoder.laterals, strict=True)
    ]
    path, expected = None, []
    for level in (3, 2, 1, 0):
        block = decoder.fusions[level]
        x = _unit(block.lateral, layers[level])
        if path is not None:
            x = x + path
        x = _unit(block.refine, x)
        expected.append(block.project(x))
        if level:
            size = layers[level - 1].shape[-2:]
            up = F.interpolate(x, size, mode='bilinear', align_corners=False)
            path = block.project(up)
    for found, want in zip(memory, expected[:3], strict=True):
        torch.testing.assert_close(found, want)
    torch.testing.assert_close(features, decoder.mask_feature(expected[3]))
    assert features.shape == (2, 5, 12, 20)
    assert [tuple(m.shape) for m in memory] == [
        (2, 16, 2, 3),
        (2, 16, 3, 5),
        (2, 16, 6, 10),
    ]


@pytest.mark.parametrize('head', ['Mask2FormerHead', 'DistillMask2FormerHead'])
def test_swaps_with_the_deformable_decoder(head):
    """In MMDet's head the config says how many levels there are."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/mask2former_nano.py')
    decoder = dict(type='DPTPixelDecoder')
    if head == 'Mask2FormerHead':
        levels = dict(self_attn_cfg=dict(num_levels=3))
        decoder['encoder'] = dict(layer_cfg=levels)
    cfg.model.panoptic_head.update(type=head)
    cfg.model.panoptic_head.pixel_decoder = decoder
    model = MODELS.build(cfg.model)
    model.init_weights()
    outs = model(torch.rand(1, 3, 64, 96), mode='tensor')
    assert outs[1][-1].shape == (1, 20, 16, 24)
    sum(o.sum() for layers in outs for o in layers).backward()
    decoder = model.panoptic_head.pixel_decoder
    assert all(p.grad is not None for p in decoder.parameters())


def test_arguments__contradictions():
    with pytest.raises(ValueError, match='at most 3 memory levels'):
        DPTPixelDecoder(CHANNELS, num_outs=4)
    levels = dict(layer_cfg=dict(self_attn_cfg=dict(num_levels=2)))
    with pytest.raises(ValueError, match='expects 2'):
        DPTPixelDecoder(CHANNELS, encoder=levels)


def test_student_of_the_paper__size_and_strides():
    """52 M in the paper; 49 to 53 M by the design's assumptions."""
    cfg = Config.fromfile(
        ROOT / 'configs/_base_/models/mask2former_dinov2_s_dpt.py'
    )
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).eval()
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert 49 <= millions <= 53
    with torch.no_grad():
        feats = model.backbone(torch.zeros(1, 3, 70, 112))
        features, memory = model.panoptic_head.pixel_decoder(feats)
    assert features.shape == (1, 256, 20, 32)  # stride 3.5
    assert [tuple(m.shape[2:]) for m in memory] == [(3, 4), (5, 8), (10, 16)]
    # An input that is no multiple of the patch is padded, as the head needs.
    outs = model.backbone(torch.zeros(1, 3, 65, 100))
    assert [tuple(o.shape[2:]) for o in outs] == [
        (19, 29), (10, 15), (5, 8), (3, 4),
    ]  # fmt: skip
