# SPDX-License-Identifier: Apache-2.0
"""Derive the config of a Mask2Former from the shapes of its tensors."""

from __future__ import annotations

import re

from mmengine.config import Config, ConfigDict
from torch import Tensor

from .config import resource_dir
from .publish import STOCK_TYPES

CONFIGS = resource_dir() / 'configs'
_DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """Count entries by the largest index that a pattern captures."""
    matches = (re.match(pattern, key) for key in state)
    return 1 + max((int(m.group(1)) for m in matches if m), default=-1)


def _resnet(state: dict[str, Tensor]) -> tuple[dict, list[int]]:
    blocks = tuple(
        _count(state, rf'backbone\.layer{stage}\.(\d+)\.')
        for stage in range(1, 5)
    )
    if blocks not in _DEPTHS:
        raise ValueError(f'a ResNet with {blocks} blocks is unknown')
    width = state['backbone.layer1.0.conv1.weight'].shape[0]
    backbone = dict(
        depth=_DEPTHS[blocks],
        stem_channels=state['backbone.conv1.weight'].shape[0],
        base_channels=width,
        norm_cfg=dict(type='BN', requires_grad=True),
        init_cfg=None,
    )
    return backbone, [width * 4 * 2**i for i in range(4)]


def _swin(state: dict[str, Tensor]) -> tuple[dict, list[int]]:
    block = 'backbone.stages.{}.blocks.0.'.format
    tables = [
        state[f'{block(i)}attn.w_msa.relative_position_bias_table']
        for i in range(4)
    ]
    dims = state['backbone.patch_embed.projection.weight'].shape[0]
    hidden = state[f'{block(0)}ffn.layers.0.0.weight'].shape[0]
    backbone = dict(
        _delete_=True,
        type='SwinTransformer',
        embed_dims=dims,
        depths=[
            _count(state, rf'backbone\.stages\.{i}\.blocks\.(\d+)\.')
            for i in range(4)
        ],
        num_heads=[t.shape[1] for t in tables],
        window_size=(int(tables[0].shape[0] ** 0.5) + 1) // 2,
        mlp_ratio=hidden // dims,
        patch_norm='backbone.patch_embed.norm.weight' in state,
        out_indices=(0, 1, 2, 3),
        init_cfg=None,
    )
    return backbone, [dims * 2**i for i in range(4)]


def model_config(state: dict[str, Tensor]) -> ConfigDict:
    """Derive MMDetection's config of a Mask2Former from its tensors' shapes.

    Shapes do not determine the number of heads (8), levels (3) and groups
    (32), which are the values of the authors' Mask2Former.

    Args:
        state (dict): State dict in MMDetection's names.

    Returns:
        ConfigDict: A ``Mask2Former`` of MMDetection's classes.

    Raises:
        ValueError: if a part of a Mask2Former is missing, or the ResNet is
            unknown.
    """
    needed = (
        'panoptic_head.cls_embed.weight',
        'panoptic_head.query_feat.weight',
        'panoptic_head.mask_embed.4.weight',
        'panoptic_head.pixel_decoder.mask_feature.weight',
    )
    missing = [key for key in needed if key not in state]
    if missing:
        raise ValueError(
            f'it is not a whole Mask2Former: {missing[0]} is missing'
        )
    is_swin = 'backbone.patch_embed.projection.weight' in state
    backbone, channels = (_swin if is_swin else _resnet)(state)
    head = 'panoptic_head.'
    decoder = head + 'pixel_decoder.encoder.layers.'
    layers = head + 'transformer_decoder.layers.'
    classes = state[head + 'cls_embed.weight'].shape[0] - 1
    queries, feat = state[head + 'query_feat.weight'].shape
    points = state[decoder + '0.self_attn.attention_weights.weight'].shape[0]
    width = dict(embed_dims=feat)

    def ffn(name: str) -> dict:
        hidden = state[name + 'ffn.layers.0.0.weight'].shape[0]
        return dict(embed_dims=feat, feedforward_channels=hidden)

    cfg = Config.fromfile(CONFIGS / '_base_/models/mask2former_r50.py')
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=backbone,
                panoptic_head=dict(
                    in_channels=channels,
                    feat_channels=feat,
                    out_channels=state[needed[2]].shape[0],
                    num_things_classes=classes,
                    num_queries=queries,
                    pixel_decoder=dict(
                        encoder=dict(
                            num_layers=_count(
                                state, re.escape(decoder) + r'(\d+)\.'
                            ),
                            layer_cfg=dict(
                                self_attn_cfg=dict(
                                    width, num_points=points // (8 * 3)
                                ),
                                ffn_cfg=ffn(decoder + '0.'),
                            ),
                        ),
                        positional_encoding=dict(num_feats=feat // 2),
                    ),
                    positional_encoding=dict(num_feats=feat // 2),
                    transformer_decoder=dict(
                        num_layers=_count(
                            state, re.escape(layers) + r'(\d+)\.'
                        ),
                        layer_cfg=dict(
                            self_attn_cfg=width,
                            cross_attn_cfg=width,
                            ffn_cfg=ffn(layers + '0.'),
                        ),
                    ),
                    loss_cls=dict(class_weight=[1.0] * classes + [0.1]),
                ),
                panoptic_fusion_head=dict(num_things_classes=classes),
                test_cfg=dict(max_per_image=min(100, queries * classes)),
            )
        )
    )
    model = cfg.model
    for part in (model.panoptic_head, model.panoptic_head.pixel_decoder):
        part.type = STOCK_TYPES[part.type]
    return model


def fitting_configs(model: ConfigDict) -> str:
    """List the configs of this project that a converted network fits.

    Args:
        model (ConfigDict): See :func:`model_config`.

    Returns:
        str: Paths below ``configs/``, separated by commas; may be empty.
    """
    head, backbone = model.panoptic_head, model.backbone
    data = {8: 'cityscapes', 80: 'coco'}.get(head.num_things_classes)
    kind = ''
    if backbone.type == 'ResNet' and backbone.depth == 50:
        kind = 'r50'
    elif backbone.type == 'SwinTransformer':
        kind = {(128, 100): 'swin_b_in21k', (192, 200): 'swin_l'}.get(
            (backbone.embed_dims, head.num_queries), ''
        )
    usual = head.num_queries == (200 if kind == 'swin_l' else 100)
    if data is None or not kind or not usual:
        return ''
    infix = '' if kind == 'r50' else f'{kind}_'
    files = (CONFIGS / 'supervised').rglob(f'supervised_{infix}{data}_*p.py')
    return ', '.join(sorted(str(p.relative_to(CONFIGS)) for p in files))
