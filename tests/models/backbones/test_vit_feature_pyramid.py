# SPDX-License-Identifier: Apache-2.0
"""ViTFeaturePyramid against timm and a bilinear loop."""

from __future__ import annotations

import math
import re

import pytest
import timm
import torch
from s4m.models.backbones import ViTFeaturePyramid
from s4m.models.backbones import vit_weights as module


@pytest.fixture(scope='module', autouse=True)
def tiny():
    """Small models under timm's own classes: (patch 14 + ls) and patch 16."""
    from timm.models import register_model
    from timm.models.vision_transformer import VisionTransformer

    def vit_tiny_test_dinov2(**kwargs):
        return _build(14, 1e-5, 56, **kwargs)

    def vit_tiny_test_deit(**kwargs):
        return _build(16, None, 64, **kwargs)

    def _build(patch, init_values, size, **kwargs):
        for key in ('pretrained', 'pretrained_cfg', 'cache_dir'):
            kwargs.pop(key, None)
        kwargs.pop('pretrained_cfg_overlay', None)
        return VisionTransformer(
            img_size=size,
            patch_size=patch,
            embed_dim=32,
            depth=2,
            num_heads=2,
            init_values=init_values,
            **kwargs,
        )

    for function in (vit_tiny_test_dinov2, vit_tiny_test_deit):
        function.__module__ = 'timm.models.vision_transformer'
        register_model(function)
    return ('vit_tiny_test_dinov2', 'vit_tiny_test_deit')


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


def _official(vit: torch.nn.Module) -> dict:
    """A DINOv2 file of its authors."""
    state = {k: v.clone() for k, v in vit.state_dict().items()}
    state['mask_token'] = torch.zeros(1, 32)
    return state


def _transformers(vit: torch.nn.Module) -> dict:
    """The same weights under transformers' names."""
    out = {'dinov2.embeddings.mask_token': torch.zeros(1, 32)}
    names = [
        (r'^cls_token$', 'embeddings.cls_token'),
        (r'^pos_embed$', 'embeddings.position_embeddings'),
        (r'^patch_embed\.proj', 'embeddings.patch_embeddings.projection'),
        (r'^blocks', 'encoder.layer'),
        (r'attn\.proj', 'attention.output.dense'),
        (r'ls(\d)\.gamma', r'layer_scale\1.lambda1'),
        (r'^norm\.', 'layernorm.'),
    ]
    for key, value in vit.state_dict().items():
        if '.attn.qkv.' in key:
            block, kind = key.split('.')[1], key.split('.')[-1]
            parts = zip(('query', 'key', 'value'), value.chunk(3), strict=True)
            for part, chunk in parts:
                name = f'encoder.layer.{block}.attention.attention'
                out[f'dinov2.{name}.{part}.{kind}'] = chunk
            continue
        for pattern, replacement in names:
            key = re.sub(pattern, replacement, key)
        out[f'dinov2.{key}'] = value
    return out


@pytest.mark.parametrize('layout', [_official, _transformers])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_load__layouts(tmp_path, layout, suffix):
    source = timm.create_model('vit_tiny_test_dinov2', num_classes=0)
    file = tmp_path / f'weights{suffix}'
    state = {k: v.contiguous().clone() for k, v in layout(source).items()}
    if suffix == '.pth':
        torch.save(state, file)
    else:
        from safetensors.torch import save_file

        save_file(state, file)
    model = ViTFeaturePyramid(
        'vit_tiny_test_dinov2',
        init_cfg=dict(type='Pretrained', checkpoint=str(file)),
    )
    model.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(model.vit.state_dict()[key], value), key


def test_load__deit_file_drops_its_head(tmp_path):
    source = timm.create_model('vit_tiny_test_deit', num_classes=7)
    torch.save({'model': source.state_dict()}, tmp_path / 'd.pth')
    vit = timm.create_model('vit_tiny_test_deit', num_classes=0)
    module.load_vit(vit, str(tmp_path / 'd.pth'), 'x')
    assert torch.equal(vit.pos_embed, source.pos_embed)


def test_load__other_position_grid_is_resampled(tmp_path):
    source = timm.create_model('vit_tiny_test_dinov2', num_classes=0)
    state = _official(source)
    state['pos_embed'] = torch.ones(1, 1 + 5 * 5, 32)
    torch.save(state, tmp_path / 'd.pth')
    vit = timm.create_model('vit_tiny_test_dinov2', num_classes=0)
    module.load_vit(vit, str(tmp_path / 'd.pth'), 'x')
    torch.testing.assert_close(vit.pos_embed, torch.ones(1, 1 + 4 * 4, 32))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s.pop('norm.weight'), r'1 missing \(norm.weight\)'),
        (
            lambda s: s.update(extra=torch.zeros(1)),
            r'1 unexpected \(extra\)',
        ),
        (
            lambda s: s.update({'norm.weight': torch.zeros(3)}),
            r'1 of another shape \(norm.weight',
        ),
        (
            lambda s: s.update(
                {'patch_embed.proj.weight': torch.zeros(32, 3, 16, 16)}
            ),
            'has patches of',
        ),
    ],
)
def test_load__bad_file(tmp_path, change, message):
    vit = timm.create_model('vit_tiny_test_dinov2', num_classes=0)
    before = {k: v.clone() for k, v in vit.state_dict().items()}
    state = _official(vit)
    change(state)
    torch.save(state, tmp_path / 'd.pth')
    with pytest.raises(ValueError, match=message):
        module.load_vit(vit, str(tmp_path / 'd.pth'), 'tiny')
    assert all(torch.equal(vit.state_dict()[k], v) for k, v in before.items())


def test_load__missing_and_damaged(tmp_path):
    vit = timm.create_model('vit_tiny_test_dinov2', num_classes=0)
    with pytest.raises(FileNotFoundError, match='facebookresearch/dinov2'):
        module.load_vit(vit, str(tmp_path / 'no.pth'), 'tiny')
    (tmp_path / 'bad.pth').write_bytes(b'PK\x03\x04 cut')
    with pytest.raises(ValueError, match='cannot be read'):
        module.load_vit(vit, str(tmp_path / 'bad.pth'), 'tiny')


def test_init__unknown_arch():
    with pytest.raises(ValueError, match="no model 'vit_none'"):
        ViTFeaturePyramid('vit_none')
    with pytest.raises(ValueError, match='not a plain vision transformer'):
        ViTFeaturePyramid('resnet18')


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


# ------------------------------------------------------- a block each level
DPT = dict(
    out_channels=(3, 4, 5, 6),
    strides=(3.5, 7, 14, 28),
    out_indices=(0, 0, 1, 1),
    resample='conv',
)


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
