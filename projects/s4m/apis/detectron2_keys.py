# SPDX-License-Identifier: Apache-2.0
"""Rename Mask2Former's tensors between detectron2 and MMDetection.

The two implementations compute the same; what differs is names, the order in
which a decoder layer lists its norms (MMDetection counts cross-attention,
self-attention, feed-forward), and the order of the four pixels that Swin
merges. Nothing else is moved: rows of Q, K and V, levels and points of the
deformable attention and the order of the input levels agree, which the test
shows by comparing outputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

_DECODER = 'sem_seg_head.pixel_decoder.'
_OUR_DECODER = 'panoptic_head.pixel_decoder.'
_ENCODER = _DECODER + 'transformer.encoder.layers.{i}.'
_OUR_ENCODER = _OUR_DECODER + 'encoder.layers.{i}.'
_PREDICTOR = 'sem_seg_head.predictor.'
_OUR_LAYER = 'panoptic_head.transformer_decoder.layers.{i}.'
_BLOCK = 'backbone.layers.{i}.blocks.{j}.'
_OUR_BLOCK = 'backbone.stages.{i}.blocks.{j}.'

#: Prefixes of names in detectron2 and in MMDetection. The first prefix that
#: matches is replaced; ``{i}``, ``{j}`` and ``{k}`` stand for numbers.
RULES: tuple[tuple[str, str], ...] = (
    # ResNet
    ('backbone.stem.conv1.norm.', 'backbone.bn1.'),
    ('backbone.stem.conv1.', 'backbone.conv1.'),
    *(
        pair
        for stage in range(1, 5)
        for pair in (
            (
                f'backbone.res{stage + 1}.{{i}}.shortcut.norm.',
                f'backbone.layer{stage}.{{i}}.downsample.1.',
            ),
            (
                f'backbone.res{stage + 1}.{{i}}.shortcut.',
                f'backbone.layer{stage}.{{i}}.downsample.0.',
            ),
            (
                f'backbone.res{stage + 1}.{{i}}.conv{{k}}.norm.',
                f'backbone.layer{stage}.{{i}}.bn{{k}}.',
            ),
            (
                f'backbone.res{stage + 1}.{{i}}.conv{{k}}.',
                f'backbone.layer{stage}.{{i}}.conv{{k}}.',
            ),
        )
    ),
    # Swin
    ('backbone.patch_embed.proj.', 'backbone.patch_embed.projection.'),
    ('backbone.patch_embed.norm.', 'backbone.patch_embed.norm.'),
    (_BLOCK + 'norm{k}.', _OUR_BLOCK + 'norm{k}.'),
    (_BLOCK + 'attn.', _OUR_BLOCK + 'attn.w_msa.'),
    (_BLOCK + 'mlp.fc1.', _OUR_BLOCK + 'ffn.layers.0.0.'),
    (_BLOCK + 'mlp.fc2.', _OUR_BLOCK + 'ffn.layers.1.'),
    ('backbone.layers.{i}.downsample.', 'backbone.stages.{i}.downsample.'),
    ('backbone.norm{k}.', 'backbone.norm{k}.'),
    # Pixel decoder
    (_DECODER + 'input_proj.{i}.0.', _OUR_DECODER + 'input_convs.{i}.conv.'),
    (_DECODER + 'input_proj.{i}.1.', _OUR_DECODER + 'input_convs.{i}.gn.'),
    (
        _DECODER + 'transformer.level_embed',
        _OUR_DECODER + 'level_encoding.weight',
    ),
    (_ENCODER + 'self_attn.', _OUR_ENCODER + 'self_attn.'),
    (_ENCODER + 'linear1.', _OUR_ENCODER + 'ffn.layers.0.0.'),
    (_ENCODER + 'linear2.', _OUR_ENCODER + 'ffn.layers.1.'),
    (_ENCODER + 'norm1.', _OUR_ENCODER + 'norms.0.'),
    (_ENCODER + 'norm2.', _OUR_ENCODER + 'norms.1.'),
    (_DECODER + 'adapter_1.norm.', _OUR_DECODER + 'lateral_convs.0.gn.'),
    (_DECODER + 'adapter_1.', _OUR_DECODER + 'lateral_convs.0.conv.'),
    (_DECODER + 'layer_1.norm.', _OUR_DECODER + 'output_convs.0.gn.'),
    (_DECODER + 'layer_1.', _OUR_DECODER + 'output_convs.0.conv.'),
    (_DECODER + 'mask_features.', _OUR_DECODER + 'mask_feature.'),
    # Transformer decoder
    *(
        (
            f'{_PREDICTOR}transformer_{name}_layers.{{i}}.{theirs}',
            _OUR_LAYER + ours,
        )
        for name, theirs, ours in (
            ('cross_attention', 'multihead_attn.', 'cross_attn.attn.'),
            ('cross_attention', 'norm.', 'norms.0.'),
            ('self_attention', 'self_attn.', 'self_attn.attn.'),
            ('self_attention', 'norm.', 'norms.1.'),
            ('ffn', 'linear1.', 'ffn.layers.0.0.'),
            ('ffn', 'linear2.', 'ffn.layers.1.'),
            ('ffn', 'norm.', 'norms.2.'),
        )
    ),
    (
        _PREDICTOR + 'decoder_norm.',
        'panoptic_head.transformer_decoder.post_norm.',
    ),
    (_PREDICTOR + 'query_feat.', 'panoptic_head.query_feat.'),
    (_PREDICTOR + 'query_embed.', 'panoptic_head.query_embed.'),
    (_PREDICTOR + 'level_embed.', 'panoptic_head.level_embed.'),
    (_PREDICTOR + 'class_embed.', 'panoptic_head.cls_embed.'),
    *(
        (
            f'{_PREDICTOR}mask_embed.layers.{layer}.',
            f'panoptic_head.mask_embed.{2 * layer}.',
        )
        for layer in range(3)
    ),
)
#: Names in older files of the zoo, before Mask2Former renamed a tensor.
RENAMED = {
    _PREDICTOR + 'static_query.weight': _PREDICTOR + 'query_feat.weight'
}
#: Tensors without a counterpart: class weights of the losses.
DROPPED = ('criterion.empty_weight', 'ssl_criterion.empty_weight')


def _compile(source: int) -> list[tuple[re.Pattern, str]]:
    """Compile the rules for keys of detectron2 (0) or MMDetection (1)."""
    compiled = []
    for rule in RULES:
        pattern = re.escape(rule[source])
        pattern = re.sub(r'\\\{(\w)\\\}', r'(?P<\1>\\d+)', pattern)
        compiled.append((re.compile(pattern), rule[1 - source]))
    return compiled


def _rename(key: str, rules: list[tuple[re.Pattern, str]]) -> str | None:
    for pattern, target in rules:
        match = pattern.match(key)
        if match:
            return target.format(**match.groupdict()) + key[match.end() :]
    return None


def _merging_to_mmdet(x: Tensor) -> Tensor:
    """Reorder the last axis from blocks of four pixels to ``nn.Unfold``.

    detectron2 concatenates the channels of (0, 0), (1, 0), (0, 1) and (1, 1);
    Unfold has the four pixels (0, 0), (0, 1), (1, 0), (1, 1) of a channel.
    """
    blocks = x.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return blocks.transpose(-1, -2).flatten(-2)


def _merging_to_detectron2(x: Tensor) -> Tensor:
    """Undo :func:`_merging_to_mmdet`."""
    pixels = x.unflatten(-1, (-1, 4)).transpose(-1, -2)
    return pixels[..., [0, 2, 1, 3], :].flatten(-2)


def _convert(
    state: dict[str, Tensor],
    source: int,
    merging: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    rules = _compile(source)
    out, unknown = {}, []
    for key, value in state.items():
        name = _rename(RENAMED.get(key, key), rules)
        if name is None:
            unknown.append(key)
            continue
        if '.downsample.reduction.' in key or '.downsample.norm.' in key:
            value = merging(value)
        out[name] = value.contiguous()
    if unknown:
        raise ValueError(
            f"{len(unknown)} tensors are not Mask2Former's: "
            + ', '.join(unknown[:8])
            + (', ...' if len(unknown) > 8 else '')
        )
    return out


def to_mmdet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename detectron2's tensors to MMDetection's.

    Args:
        state (dict): State dict without the names in :data:`DROPPED`.

    Raises:
        ValueError: if a name does not belong to Mask2Former.

    Example:
        >>> import torch
        >>> key = 'sem_seg_head.predictor.class_embed.bias'
        >>> list(to_mmdet({key: torch.zeros(9)}))
        ['panoptic_head.cls_embed.bias']
    """
    return _convert(state, 0, _merging_to_mmdet)


def to_detectron2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename MMDetection's tensors to detectron2's.

    Args:
        state (dict): State dict of a Mask2Former.

    Raises:
        ValueError: if a name does not belong to Mask2Former.
    """
    return _convert(state, 1, _merging_to_detectron2)
