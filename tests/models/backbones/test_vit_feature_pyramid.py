# SPDX-License-Identifier: Apache-2.0
"""ViTFeaturePyramid against timm and a bilinear loop."""

from __future__ import annotations

import math
import re

import pytest
import timm
import torch
from s4m.models.backbones import ViTFeaturePyramid
from tiny_vits import register_tiny_vits


@pytest.fixture(scope='module', autouse=True)
def tiny():
    """Small models under timm's own classes: (patch 14 + ls) and patch 16."""
    return register_tiny_vits()


def _bilinear(grid: torch.Tensor, y: float, x: float) -> torch.Tensor:
    """(C, h, w) at a fractional place, edges repeated."""
    height, width = grid.shape[-2:]
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = math.floor(y), math.floor(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    return (
        grid[:, y0, x0] * (1 - fy) * (1 - fx)
        + grid[:, y0, x1] * (1 - fy) * fx
        + grid[:, y1, x0] * fy * (1 - fx)
        + grid[:, y1, x1] * fy * fx
    )


#: A block each level.
DPT = dict(
    out_channels=(3, 4, 5, 6),
    strides=(3.5, 7, 14, 28),
    out_indices=(0, 0, 1, 1),
    resample='conv',
)


@pytest.mark.parametrize(
    'arch', ['vit_tiny_test_dinov2', 'vit_tiny_test_deit']
)
@pytest.mark.parametrize('size', [(64, 96), (50, 70)])
def test_forward__equals_interpolation_then_convolution(arch, size):
    model = ViTFeaturePyramid(arch, out_channels=5).double().eval()
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    outs = model(x)

    patch = model.patch_size
    padded = [math.ceil(math.ceil(s / 32) * 32 / patch) * patch for s in size]
    canvas = x.new_zeros(2, 3, *padded)
    canvas[:, :, : size[0], : size[1]] = x
    tokens = model.vit.forward_features(canvas)[:, 1:].mT
    grid = tokens.reshape(2, 32, padded[0] // patch, padded[1] // patch)
    for out, conv, stride in zip(
        outs, model.convs, (4, 8, 16, 32), strict=True
    ):
        want = [math.ceil(s / stride) for s in size]
        assert list(out.shape) == [2, 5, *want]
        for i in range(0, want[0], 2):
            for j in range(0, want[1], 3):
                y = (i + 0.5) * stride / patch - 0.5
                x_ = (j + 0.5) * stride / patch - 0.5
                value = _bilinear(grid[1], y, x_)[None, :, None, None]
                torch.testing.assert_close(
                    out[1, :, i, j], conv(value)[0, :, 0, 0]
                )


@pytest.mark.parametrize(
    'arch', ['vit_tiny_test_dinov2', 'vit_tiny_test_deit']
)
@pytest.mark.parametrize('resample', ['nearest', 'bilinear'])
@pytest.mark.parametrize('size', [(64, 96), (52, 72), (56, 64)])
def test_stretch__equals_the_released_order(arch, resample, size):
    """Stretch to full patches, resize the tokens to size / stride, 1x1."""
    model = ViTFeaturePyramid(
        arch, (3, 4, 5, 6), resample=resample, fit='stretch'
    )
    model = model.double().eval()
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    outs = model(x)

    patch = model.patch_size
    full = [math.ceil(s / patch) * patch for s in size]
    stretched = torch.empty(2, 3, *full, dtype=torch.float64)
    for i in range(full[0]):
        for j in range(full[1]):
            y = (i + 0.5) * size[0] / full[0] - 0.5
            x_ = (j + 0.5) * size[1] / full[1] - 0.5
            for b in range(2):
                stretched[b, :, i, j] = _bilinear(x[b], y, x_)
    tokens = model.vit.forward_features(stretched)[:, 1:].mT
    rows, cols = (s // patch for s in full)
    grid = tokens.reshape(2, 32, rows, cols)
    for out, conv, stride in zip(
        outs, model.convs, (4, 8, 16, 32), strict=True
    ):
        want = [math.ceil(s / stride) for s in size]
        assert list(out.shape[2:]) == want
        for i in range(want[0]):
            for j in range(want[1]):
                if resample == 'nearest':
                    at = i * rows // want[0], j * cols // want[1]
                    value = grid[1, :, at[0], at[1]]
                else:
                    value = _bilinear(
                        grid[1],
                        (i + 0.5) * rows / want[0] - 0.5,
                        (j + 0.5) * cols / want[1] - 0.5,
                    )
                torch.testing.assert_close(
                    out[1, :, i, j],
                    conv(value[None, :, None, None])[0, :, 0, 0],
                )


def _centroids(model, level: int, length: int) -> torch.Tensor:
    """Centre of the input rows that each row of a level depends on."""
    # Tokens see their own patch only, and every weight counts the same.
    model.vit.blocks = torch.nn.ModuleList(
        torch.nn.Identity() for _ in model.vit.blocks
    )
    model.vit.norm = torch.nn.Identity()
    for name, parameter in model.named_parameters():
        constant = 0.0 if 'bias' in name else 1.0
        torch.nn.init.constant_(parameter, constant)
    x = torch.zeros(1, 3, length, 28, requires_grad=True)
    out = model.double()(x.double())[level]
    places = torch.arange(length).double() + 0.5
    found = []
    for row in range(out.shape[2]):
        (grad,) = torch.autograd.grad(
            out[0, 0, row].sum(), x, retain_graph=True
        )
        weight = grad.abs().sum((0, 1, 3)).double()
        found.append((weight * places).sum() / weight.sum())
    return torch.stack(found).float()


@pytest.mark.parametrize(
    ('options', 'level', 'length', 'inner'),
    [
        # 3x3 convolution of stride 2: patches 0, 2, 4, ...
        (dict(resample='conv'), 3, 140, slice(1, -1)),
        (dict(resample='conv'), 2, 140, slice(None)),
        (dict(resample='bilinear'), 2, 140, slice(1, -1)),
        (dict(resample='bilinear'), 3, 112, slice(1, -1)),
        (dict(resample='bilinear', fit='stretch'), 2, 140, slice(1, -1)),
        (dict(resample='bilinear', fit='stretch'), 2, 130, slice(1, -1)),
    ],
)
def test_centres__of_the_receptive_fields(options, level, length, inner):
    """Against the gradient, away from the border."""
    model = ViTFeaturePyramid(
        'vit_tiny_test_dinov2', **(DPT | dict(out_channels=3) | options)
    )
    centres = model.centres(level, length)
    torch.testing.assert_close(
        centres[inner],
        _centroids(model, level, length)[inner],
        atol=0.2,
        rtol=0,
    )
    stride = DPT['strides'][level]
    assert len(centres) == math.ceil(length / stride)


def test_centres__finer_levels_split_a_patch():
    """A transposed convolution: stride 3.5, the first at 1.75."""
    model = ViTFeaturePyramid('vit_tiny_test_dinov2', **DPT)
    assert model.centres(0, 28).tolist() == [1.75 + 3.5 * i for i in range(8)]
    # A crop of 512 pixels: 19 rows, 28 pixels apart, every second patch.
    want = [7.0 + 28 * i for i in range(19)]
    assert model.centres(-1, 512).tolist() == want
    assert model.centres(-1, 518).tolist() == want


def test_frozen__never_changes():
    model = ViTFeaturePyramid('vit_tiny_test_dinov2', 8, frozen=True)
    model.train()
    assert model.training and not model.vit.training
    assert all(not p.requires_grad for p in model.vit.parameters())
    assert all(p.requires_grad for p in model.convs.parameters())
    outs = model(torch.rand(1, 3, 32, 32, requires_grad=True))
    sum(o.sum() for o in outs).backward()
    assert all(p.grad is None for p in model.vit.parameters())
    assert all(p.grad is not None for p in model.convs.parameters())


def test_checkpointing__same_gradients():
    torch.manual_seed(0)
    plain = ViTFeaturePyramid('vit_tiny_test_dinov2', 8).train()
    saving = ViTFeaturePyramid('vit_tiny_test_dinov2', 8, with_cp=True).train()
    saving.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 64, 64)
    calls = []
    for model in (plain, saving):
        handle = model.vit.blocks[0].register_forward_pre_hook(
            lambda *_: calls.append(1)
        )
        sum(o.square().sum() for o in model(x)).backward()
        handle.remove()
        calls.append('|')
    # The block ran again in the backward pass.
    assert calls == [1, '|', 1, 1, '|']
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_init__unknown_arch():
    with pytest.raises(ValueError, match="no model 'vit_none'"):
        ViTFeaturePyramid('vit_none')
    with pytest.raises(ValueError, match='not a plain vision transformer'):
        ViTFeaturePyramid('resnet18')


def test_conv__equals_timms_blocks_and_torchs_convolutions():
    model = ViTFeaturePyramid('vit_tiny_test_dinov2', **DPT).double().eval()
    x = torch.rand(2, 3, 42, 70, dtype=torch.float64)
    outs = model(x)
    tokens = model.vit.get_intermediate_layers(x, n=[0, 1], norm=True)
    for level, block in enumerate(DPT['out_indices']):
        grid = tokens[block].mT.reshape(2, 32, 3, 5)
        conv = model.convs[level]
        want = torch.nn.functional.conv2d(grid, conv.weight, conv.bias)
        last = model.resamplers[level]
        if level < 2:
            scale = (4, 2)[level]
            # Each token becomes its own block of pixels.
            blocks = torch.einsum('bchw,cdij->bdhiwj', want, last.weight)
            want = blocks.reshape(2, -1, 3 * scale, 5 * scale)
            want = want + last.bias[:, None, None]
        elif level == 3:
            want = torch.nn.functional.conv2d(
                want, last.weight, last.bias, stride=2, padding=1
            )
        torch.testing.assert_close(outs[level], want)
    assert outs[3].shape == (2, 6, 2, 3)


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (dict(out_indices=(0, 1)), 'out_indices has 2'),
        (dict(out_indices=(0, 0, 1, 2)), 'blocks 0 to 1'),
        (dict(out_channels=(3, 4)), 'out_channels has 2'),
        (dict(resample='cubic'), 'resample must be one of'),
        (dict(fit='crop'), 'fit must be one of'),
        (dict(fit='stretch'), "goes with fit='pad'"),
        (dict(strides=(4, 8, 16, 32)), '3.5, 7, 14 and 28'),
    ],
)
def test_conv__arguments(change, word):
    with pytest.raises(ValueError, match=re.escape(word)):
        ViTFeaturePyramid('vit_tiny_test_dinov2', **(DPT | change))


def test_vit_cfg__changes_the_architecture():
    model = ViTFeaturePyramid(
        'vit_tiny_patch16_224', vit_cfg=dict(depth=2, patch_size=8)
    )
    assert len(model.vit.blocks) == 2 and model.patch_size == 8


@pytest.mark.parametrize(
    ('arch', 'params'),
    [
        ('vit_small_patch14_dinov2', 22.1),
        ('vit_base_patch14_dinov2', 86.6),
        ('vit_large_patch14_dinov2', 304.4),
        ('deit_base_patch16_384', 86.1),
    ],
)
def test_papers_backbones__build(arch, params):
    """Parameters in millions, as their authors publish them."""
    with torch.device('meta'):
        vit = timm.create_model(arch, num_classes=0)
    count = sum(p.numel() for p in vit.parameters()) / 1e6
    assert count == pytest.approx(params, abs=0.1)
