# SPDX-License-Identifier: Apache-2.0
"""The groups of the optimiser's parameters."""

from __future__ import annotations

from mmengine.optim import build_optim_wrapper
from torch import nn


def test_constructor__norms_groups_and_teacher():
    model = nn.Module()
    for name in ('student', 'teacher'):
        net = nn.Module()
        net.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        net.head = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        net.query_embed = nn.Embedding(2, 4)
        model.add_module(name, net)
    model.teacher.requires_grad_(False)
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='SegmentorOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.5),
            paramwise_cfg=dict(
                norm_decay_mult=0.0,
                custom_keys={
                    'backbone': dict(lr_mult=0.1),
                    'query_embed': dict(decay_mult=0.0),
                },
            ),
        ),
    )
    groups = {
        (g['lr'], g['weight_decay']): g['params']
        for g in wrapper.optimizer.param_groups
    }
    s = model.student
    want = {
        (0.1, 0.5): list(s.backbone[0].parameters()),
        (0.1, 0.0): list(s.backbone[1].parameters()),
        (1.0, 0.5): list(s.head[0].parameters()),
        (1.0, 0.0): [*s.head[1].parameters(), s.query_embed.weight],
    }
    assert groups.keys() == want.keys()
    for key, params in want.items():
        assert {id(p) for p in groups[key]} == {id(p) for p in params}
