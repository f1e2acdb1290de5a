# SPDX-License-Identifier: Apache-2.0
"""detectron2's names and shapes without numbers."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT
from mmdet.models.backbones.swin import swin_converter
from mmdet.registry import MODELS
from mmengine.config import Config
from s4m.apis import detectron2_keys as keys
from s4m.apis.mask2former_config import fitting_configs, model_config


def test_swin_merging__as_mmdetections_converter():
    """MMDetection's own, for the original authors' files, is the oracle."""
    state = {
        'layers.1.downsample.reduction.weight': torch.randn(6, 12),
        'layers.1.downsample.norm.weight': torch.randn(12),
        'layers.1.downsample.norm.bias': torch.randn(12),
        'layers.1.blocks.0.attn.qkv.weight': torch.randn(9, 3),
        'layers.1.blocks.0.mlp.fc1.bias': torch.randn(9),
        'layers.1.blocks.0.mlp.fc2.bias': torch.randn(9),
        'layers.1.blocks.0.norm1.bias': torch.randn(9),
        'patch_embed.proj.weight': torch.randn(2, 3, 4, 4),
    }
    want = swin_converter(state)
    found = keys.to_mmdet({f'backbone.{k}': v for k, v in state.items()})
    assert found.keys() == want.keys()
    for key, value in want.items():
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize('depth', [50, 101])
def test_full_size__shapes_are_found_again(depth):
    """The papers' models, without their memory."""
    base = ROOT / 'configs/_base_/models'
    cfg = Config.fromfile(base / 'mask2former_r50.py').model
    cfg.backbone.update(init_cfg=None, depth=depth)
    with torch.device('meta'):
        state = MODELS.build(cfg).state_dict()
    theirs = keys.to_detectron2(state)
    assert theirs['backbone.res5.2.conv3.weight'].shape == (2048, 512, 1, 1)
    ours = keys.to_mmdet(theirs)
    assert {k: v.shape for k, v in ours.items()} == {
        k: v.shape for k, v in state.items()
    }
    found = model_config(ours)
    assert found.backbone.depth == depth
    assert found.panoptic_head.num_queries == 100
    encoder = found.panoptic_head.pixel_decoder.encoder
    assert encoder.num_layers == 6
    assert encoder.layer_cfg.self_attn_cfg.num_points == 4
    fits = 'supervised/supervised_cityscapes_10p.py' in fitting_configs(found)
    assert fits == (depth == 50)
