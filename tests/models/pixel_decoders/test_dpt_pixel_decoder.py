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
    """ResidualConvUnit: relu, conv (and norm), twice, short cut."""
    y = x
    for i in (1, 2):
        conv, norm = getattr(unit, f'conv{i}'), getattr(unit, f'norm{i}')
        y = F.conv2d(y.relu(), conv.weight, conv.bias, padding=1)
        if isinstance(norm, torch.nn.BatchNorm2d):
            mean = y.mean((0, 2, 3), keepdim=True)
            var = y.var((0, 2, 3), keepdim=True, correction=0)
            y = (y - mean) / (var + 1e-5).sqrt()
            y = y * norm.weight[:, None, None] + norm.bias[:, None, None]
    return x + y


@pytest.mark.parametrize('norm', [None, 'BN'])
@pytest.mark.parametrize('upsample', [False, True])
def test_forward__equals_dpts_order(upsample, norm):
    """DPT: sum, refine, up-sample, then 1x1; here 1x1, then up-sample."""
    norm_cfg = norm and dict(type=norm)
    decoder = DPTPixelDecoder(
        CHANNELS, 16, 5, upsample=upsample, norm_cfg=norm_cfg
    ).double()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    feats = [f.double() for f in _pyramid()]
    features, memory = decoder(feats)
    layers = [
        F.conv2d(f, lateral.weight, padding=1)
        for f, lateral in zip(feats, decoder.laterals, strict=True)
    ]
    path, plain, doubled = None, [], []
    for level in (3, 2, 1, 0):
        block = decoder.fusions[level]
        x = _unit(block.lateral, layers[level])
        if path is not None:
            x = x + path
        x = _unit(block.refine, x)
        plain.append(block.project(x))
        size = layers[level - 1].shape[-2:] if level else (24, 40)
        up = F.interpolate(x, size, mode='bilinear', align_corners=False)
        path = block.project(up)
        doubled.append(path)
    expected = doubled if upsample else plain
    for found, want in zip(memory, expected[:3], strict=True):
        torch.testing.assert_close(found, want)
    torch.testing.assert_close(features, decoder.mask_feature(expected[3]))
    # Levels of (12, 20), (6, 10), (3, 5) and (2, 3).
    sizes = [(2, 3), (3, 5), (6, 10), (12, 20), (24, 40)]
    sizes = sizes[1:] if upsample else sizes[:-1]
    assert [tuple(m.shape) for m in memory] == [(2, 16, *s) for s in sizes[:3]]
    assert features.shape == (2, 5, *sizes[3])


KNOWN = dict(upsample=True, norm_cfg=dict(type='BN'))


@pytest.mark.parametrize('layout', [{}, KNOWN])
@pytest.mark.parametrize('head', ['Mask2FormerHead', 'DistillMask2FormerHead'])
def test_swaps_with_the_deformable_decoder(head, layout):
    """In MMDet's head the config says how many levels there are."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/mask2former_nano.py')
    decoder = dict(type='DPTPixelDecoder', **layout)
    if head == 'Mask2FormerHead':
        levels = dict(self_attn_cfg=dict(num_levels=3))
        decoder['encoder'] = dict(layer_cfg=levels)
    cfg.model.panoptic_head.update(type=head)
    cfg.model.panoptic_head.pixel_decoder = decoder
    cfg.model.init_cfg = None
    model = MODELS.build(cfg.model)
    model.init_weights()
    outs = model(torch.rand(2, 3, 64, 96), mode='tensor')
    stride = 2 if layout else 4
    assert outs[1][-1].shape == (2, 20, 64 // stride, 96 // stride)
    sum(o.sum() for layers in outs for o in layers).backward()
    decoder = model.panoptic_head.pixel_decoder
    assert all(p.grad is not None for p in decoder.parameters())


@pytest.mark.parametrize('layout', [{}, KNOWN])
def test_trains__loss_falls(layout):
    """Eighty steps towards the finest level itself, from either layout."""
    decoder = DPTPixelDecoder(CHANNELS, 16, CHANNELS[0], **layout)
    decoder.init_weights()
    feats = _pyramid()
    target = feats[0]
    if layout:
        target = F.interpolate(target, scale_factor=2, mode='bilinear')
    optim = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    for _ in range(80):
        optim.zero_grad()
        loss = F.mse_loss(decoder(feats)[0], target)
        loss.backward()
        optim.step()
    assert loss < 0.3 * target.var()


def test_arguments__contradictions():
    with pytest.raises(ValueError, match='at most 3 memory levels'):
        DPTPixelDecoder(CHANNELS, num_outs=4)
    levels = dict(layer_cfg=dict(self_attn_cfg=dict(num_levels=2)))
    with pytest.raises(ValueError, match='expects 2'):
        DPTPixelDecoder(CHANNELS, encoder=levels)


def _parameters(channels, norm: bool) -> int:
    """Of SSKD's student, counted by hand; F = 256, 8 classes."""
    width, hidden = 384, 4 * 384
    block = 2 * 2 * width  # norms
    block += 3 * width * (width + 1) + width * (width + 1)  # attention
    block += width * (hidden + 1) + hidden * (width + 1)
    block += 2 * width  # layer scale
    vit = 12 * block + 2 * width + width + (37 * 37 + 1) * width
    vit += width * (3 * 14 * 14 + 1)
    a, b, _, d = channels
    pyramid = (width + 1) * sum(channels)
    pyramid += a * (16 * a + 1) + b * (4 * b + 1) + d * (9 * d + 1)
    conv = 256 * 256 * 9
    unit = 2 * (conv + 2 * 256 if norm else conv + 256)
    dpt = 9 * 256 * sum(channels) + 4 * (2 * unit + 256 * 257) + 256 * 257
    attention = 4 * 256 * 257
    layer = 2 * attention + 256 * 2049 + 2048 * 257 + 3 * 512
    head = 9 * layer + 512  # transformer decoder, its last norm
    head += 2 * 100 * 256 + 3 * 256  # queries, levels
    head += 257 * 9 + 3 * 256 * 257  # classes, masks
    return vit + pyramid + dpt + head


@pytest.mark.parametrize('known', [True, False])
def test_student_of_the_paper__size_and_strides(known):
    """Both layouts, and 52 M in the paper."""
    cfg = Config.fromfile(
        ROOT / 'configs/_base_/models/mask2former_dinov2_s_dpt.py'
    )
    cfg.model.backbone.init_cfg = None
    decoder = cfg.model.panoptic_head.pixel_decoder
    assert {k: decoder[k] for k in KNOWN} == KNOWN
    if not known:
        decoder.update(upsample=False, norm_cfg=None)
    model = MODELS.build(cfg.model).eval()
    found = sum(p.numel() for p in model.parameters())
    channels = cfg.model.panoptic_head.in_channels
    assert found == _parameters(channels, known)
    assert 49 <= found / 1e6 <= 53
    with torch.no_grad():
        feats = model.backbone(torch.zeros(1, 3, 70, 112))
        features, memory = model.panoptic_head.pixel_decoder(feats)
    # Of strides 28, 14, 7, 3.5 and 1.75.
    sizes = [(3, 4), (5, 8), (10, 16), (20, 32), (40, 64)]
    sizes = sizes[1:] if known else sizes[:-1]
    assert [tuple(m.shape[2:]) for m in memory] == sizes[:3]
    assert features.shape == (1, 256, *sizes[3])
    # An input that is no multiple of the patch is padded, as the head needs.
    outs = model.backbone(torch.zeros(1, 3, 65, 100))
    assert [tuple(o.shape[2:]) for o in outs] == [
        (19, 29), (10, 15), (5, 8), (3, 4),
    ]  # fmt: skip
