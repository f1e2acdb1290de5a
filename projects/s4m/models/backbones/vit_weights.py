# SPDX-License-Identifier: Apache-2.0
"""Published weights of plain vision transformers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.logging import print_log
from torch import Tensor

from s4m.utils.checkpoints import load_strictly, read_weights

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

# Parts of a classifier or of pre-training, which a backbone does not have.
_DROPPED = ('head.', 'mask_token')


def load_vit(vit: VisionTransformer, checkpoint: str, arch: str) -> None:
    """Load published weights strictly, with resampled position embeddings.

    Args:
        vit (VisionTransformer): timm's model, which receives the weights.
        checkpoint (str): Path of a file, or a URL ``http(s)://``.
        arch (str): Name of the transformer for messages.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if keys or shapes differ from those of ``vit``.
    """
    from timm.models.vision_transformer import checkpoint_filter_fn

    if '://' not in checkpoint and not Path(checkpoint).expanduser().is_file():
        raise FileNotFoundError(
            f'Backbone weights {checkpoint} do not exist. DINOv2: '
            'github.com/facebookresearch/dinov2#pretrained-models, DeiT: '
            "github.com/facebookresearch/deit; set the backbone's "
            'init_cfg.checkpoint to where the file is.'
        )
    state = read_weights(checkpoint)
    if any(k.startswith(('dinov2.', 'encoder.layer.')) for k in state):
        state = _from_transformers(state)
    patch = state.get('patch_embed.proj.weight')
    expected = vit.state_dict()['patch_embed.proj.weight'].shape
    if patch is not None and patch.shape != expected:
        raise ValueError(
            f'{checkpoint} has patches of {tuple(patch.shape)}, {arch} of '
            f'{tuple(expected)}.'
        )
    # timm's converter for checkpoints in the original DINOv2 or DeiT layout.
    converted = checkpoint_filter_fn(dict(state), vit)
    state = {k: v for k, v in converted.items() if not k.startswith(_DROPPED)}
    load_strictly(
        vit,
        state,
        f'Backbone weights {checkpoint}',
        hint=f'The backbone is {arch}.',
    )
    print_log(f'{arch}: weights of {checkpoint}', logger='current')


#: Patterns of transformers' DINOv2 names, which follow ``dinov2.``, and the
#: names in the authors' files.
_TRANSFORMERS = (
    (r'^embeddings\.cls_token$', 'cls_token'),
    (r'^embeddings\.register_tokens$', 'register_tokens'),
    (r'^embeddings\.mask_token$', 'mask_token'),
    (r'^embeddings\.position_embeddings$', 'pos_embed'),
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'^encoder\.layer\.', 'blocks.'),
    (r'\.attention\.output\.dense\.', '.attn.proj.'),
    (r'\.layer_scale(\d)\.lambda1$', r'.ls\1.gamma'),
    (r'\.mlp\.weights_in\.', '.mlp.w12.'),
    (r'\.mlp\.weights_out\.', '.mlp.w3.'),
    (r'^layernorm\.', 'norm.'),
)


def _from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert a DINOv2 in transformers' key names to the authors' layout."""
    out: dict[str, Tensor] = {}
    #: Query, key and value of each joint projection.
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name = key.removeprefix('dinov2.')
        match = re.match(
            r'^encoder\.layer\.(\d+)\.attention\.attention\.'
            r'(query|key|value)\.(weight|bias)$',
            name,
        )
        if match:
            block, part, kind = match.groups()
            parts.setdefault(f'blocks.{block}.attn.qkv.{kind}', {})[part] = (
                value
            )
            continue
        for pattern, replacement in _TRANSFORMERS:
            name = re.sub(pattern, replacement, name)
        out[name] = value
    for name, qkv in parts.items():
        if len(qkv) == 3:
            out[name] = torch.cat([qkv[k] for k in ('query', 'key', 'value')])
    out.setdefault('mask_token', torch.zeros(0))
    return out
