# SPDX-License-Identifier: Apache-2.0
"""Files of pre-trained vision transformers."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from s4m.models.backbones import ViTFeaturePyramid
from s4m.models.backbones import vit_weights as module
from tiny_vits import register_tiny_vits


@pytest.fixture(scope='module', autouse=True)
def tiny():
    """Small models under timm's own classes: (patch 14 + ls) and patch 16."""
    return register_tiny_vits()


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
