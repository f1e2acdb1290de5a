# SPDX-License-Identifier: Apache-2.0
"""A nano variant of every backbone and detector trains, stops and goes on."""

from __future__ import annotations

import pytest
import torch
from nano import nano
from short_trainings import guided_config, train_and_resume

VIT = dict(
    type='ViTFeaturePyramid',
    arch='vit_tiny_patch16_224',
    out_channels=32,
)
SWIN = dict(
    type='SwinTransformer',
    embed_dims=16,
    depths=[1, 1, 1, 1],
    num_heads=[1, 1, 2, 2],
    window_size=4,
)


@pytest.mark.parametrize(
    ('backbone', 'channels'),
    [
        (VIT, [32] * 4),
        (dict(VIT, frozen=True), [32] * 4),
        (dict(VIT, with_cp=True), [32] * 4),
        (SWIN, [16, 32, 64, 128]),
    ],
    ids=['vit', 'frozen_vit', 'vit_cp', 'swin'],
)
def test_backbones(shapes_config, backbone, channels):
    cfg = guided_config(shapes_config)
    cfg.model.detector.backbone = backbone
    cfg.model.detector.panoptic_head.in_channels = channels
    runner = train_and_resume(cfg)
    trained = {
        id(p)
        for group in runner.optim_wrapper.optimizer.param_groups
        for p in group['params']
    }
    if backbone.get('frozen'):
        vit = runner.model.student.backbone.vit
        assert not any(id(p) in trained for p in vit.parameters())
        assert not any(
            p in runner.optim_wrapper.optimizer.state for p in vit.parameters()
        )
        for a, b in zip(
            vit.parameters(),
            runner.model.teacher.backbone.vit.parameters(),
            strict=True,
        ):
            assert torch.equal(a, b)
    else:
        backbone = runner.model.student.backbone
        assert all(id(p) in trained for p in backbone.parameters())


@pytest.mark.parametrize('name', ['MaskRCNN', 'RTMDet', 'MaskFormer'])
def test_mixing(shapes_config, name):
    cfg = guided_config(shapes_config)
    cfg.model.detector = nano(name)
    preprocessor = dict(cfg.model.detector.data_preprocessor)
    preprocessor['type'] = 'SemiDataPreprocessor'
    cfg.model.data_preprocessor = preprocessor
    if name != 'MaskFormer':
        # An untrained detector finds objects everywhere.
        cfg.model.detector.test_cfg.get(
            'rcnn', cfg.model.detector.test_cfg
        ).max_per_img = 10
        cfg.model.pseudo_labeler = dict(
            type='PredictionPseudoLabeler', score_thr=0.0
        )
    train_and_resume(cfg)
