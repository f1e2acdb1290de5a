# SPDX-License-Identifier: Apache-2.0
"""Released Mask2Former checkpoints of detectron2 for MMDetection.

    python tools/model_converters/detectron2_to_mmdet.py SRC.pth DST.pth

reads S4M's and Guided Distillation's checkpoints (``--model student`` or
``teacher``) and plain Mask2Former ones (``.pth``, or the zoo's ``.pkl``) with
ResNet or Swin backbones, any number of classes, queries and layers. Writes an
MMDetection Mask2Former checkpoint, and beside it a config that it loads in;
``--model both`` writes a checkpoint of a ``SemiInstanceSegmentor``. Every
tensor has to be used and every one of the model set, else nothing is written.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / 'misc'))
from checkpoints import read, tensors
from detectron2_keys import DROPPED, to_mmdet
from publish_model import STOCK_TYPES
from s4m.utils.whole_files import write_whole

ROOT = Path(__file__).resolve().parents[2]
VERSION = 1
_STUDENT, _TEACHER = 'modelStudent.', 'modelTeacher.'
_DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
#: Data sets by their number of instance classes.
_DATASETS = {8: 'CityscapesDataset', 80: 'CocoDataset'}
_DATASETS[100] = 'ADE20KInstanceDataset'


# --------------------------------------------------------------- the model
def _count(state: dict[str, Tensor], pattern: str) -> int:
    """1 + the largest number at the group of a pattern."""
    found = (re.match(pattern, key) for key in state)
    return 1 + max((int(m.group(1)) for m in found if m), default=-1)


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
    """MMDetection's config of a Mask2Former, read off its shapes.

    What shapes do not say is Mask2Former's own: 8 heads, 3 levels, 32 groups.

    Args:
        state (dict): In MMDetection's names.

    Raises:
        ValueError: if it is no Mask2Former.
    """
    needed = (
        'panoptic_head.cls_embed.weight',
        'panoptic_head.query_feat.weight',
        'panoptic_head.mask_embed.4.weight',
        'panoptic_head.pixel_decoder.mask_feature.weight',
    )
    missing = [key for key in needed if key not in state]
    if missing:
        raise ValueError(f'it is no whole Mask2Former: no {missing[0]}')
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

    base = ROOT / 'configs/_base_/models/mask2former_r50.py'
    cfg = Config.fromfile(base)
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


def complete(
    state: dict[str, Tensor], model: ConfigDict
) -> tuple[dict[str, Tensor], list[str]]:
    """Check a state dict against its model, strictly.

    Counters of batches, which frozen norms do not have, are set to 0.

    Returns:
        tuple: the whole state dict, and the names of those counters.

    Raises:
        ValueError: with the names that are missing, too many or differ.
    """
    from mmdet.registry import MODELS
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import init_default_scope
    from s4m.utils.checkpoints import compare_state_dicts

    init_default_scope('mmdet')
    own = revert_sync_batchnorm(MODELS.build(model)).state_dict()
    filled = [
        key
        for key in own
        if key.endswith('.num_batches_tracked') and key not in state
    ]
    state = state | {key: torch.zeros_like(own[key]) for key in filled}
    missing, unexpected, shapes = compare_state_dicts(own, state)
    if missing or unexpected or shapes:
        raise ValueError(
            'the weights are no whole Mask2Former: '
            f'missing {missing[:5]} ({len(missing)}), unused '
            f'{unexpected[:5]} ({len(unexpected)}), of another shape '
            f'{shapes[:5]} ({len(shapes)})'
        )
    return {key: state[key] for key in own}, filled


# ---------------------------------------------------------------- the file
def networks(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """State dicts by ``student`` and ``teacher``, or by ``model``.

    Raises:
        ValueError: if there are tensors of neither.
    """
    found = {'student': {}, 'teacher': {}, 'model': {}}
    for key, value in state.items():
        for name, prefix in (('student', _STUDENT), ('teacher', _TEACHER)):
            if key.startswith(prefix):
                found[name][key.removeprefix(prefix)] = value
                break
        else:
            found['model'][key] = value
    found = {name: part for name, part in found.items() if part}
    if 'model' in found and len(found) > 1:
        raise ValueError(
            f'tensors beside {_STUDENT}* and {_TEACHER}*: '
            f'{sorted(found["model"])[:5]}'
        )
    return found


def convert(
    source: str | Path, model: str = 'student', num_classes: int | None = None
) -> tuple[dict, ConfigDict]:
    """A checkpoint for MMDetection, and the config of its network.

    Args:
        source: The file.
        model (str): ``student``, ``teacher`` or ``both``; a plain
            Mask2Former is what the first of them is.
        num_classes (int, optional): What is expected.

    Raises:
        FileNotFoundError, ValueError: See :func:`checkpoints.read`; or if it
            is no Mask2Former, has no such network or other classes.
    """
    data, digest = read(source)
    state = data.get('model', data)
    if not isinstance(state, dict):
        raise ValueError(f'{source} has no weights')
    try:
        parts = networks(tensors(state, source))
        names = ['student', 'teacher'] if model == 'both' else [model]
        if 'model' in parts:
            if model != 'student':
                raise ValueError(
                    f'there is no {model}: it is a plain checkpoint of one '
                    'network'
                )
            names = ['model']
        absent = [name for name in names if name not in parts]
        if absent:
            raise ValueError(f'there is no {absent[0]}')
        converted, kept, filled = {}, {}, {}
        for name in names:
            part = parts[name]
            kept[name] = {k: part.pop(k) for k in DROPPED if k in part}
            ours = to_mmdet(part)
            cfg = model_config(ours)
            classes = cfg.panoptic_head.num_things_classes
            if num_classes is not None and classes != num_classes:
                raise ValueError(
                    f'it has {classes} classes, the config {num_classes}'
                )
            converted[name], filled[name] = complete(ours, cfg)
    except (ValueError, KeyError) as e:
        what = f'{e} is missing' if isinstance(e, KeyError) else e
        raise ValueError(f'{source}: {what}') from e
    if model == 'both':
        state = {
            f'{name}.{key}': value
            for name in names
            for key, value in converted[name].items()
        }
    else:
        state = converted[names[0]]
    meta = dict(
        dataset_meta=dict(classes=class_names(classes)),
        converted_from=dict(
            sha256=digest, name=Path(source).name, version=VERSION
        ),
        # What MMDetection has no place for, for the way back.
        detectron2=dict(dropped=kept, filled=filled),
    )
    return dict(meta=meta, state_dict=state), cfg


def class_names(number: int) -> tuple[str, ...]:
    """Names of a data set with so many instance classes, or numbers."""
    from mmdet.registry import DATASETS

    if number not in _DATASETS:
        return tuple(str(i) for i in range(number))
    return DATASETS.get(_DATASETS[number]).METAINFO['classes']


def fitting_configs(model: ConfigDict) -> str:
    """Which of this project's configs a converted network fits, if any."""
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
    found = sorted(
        str(p.relative_to(ROOT))
        for p in (ROOT / 'configs').rglob(f'supervised_{infix}{data}_*p.py')
    )
    return ', '.join(found)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', type=Path)
    parser.add_argument('target', type=Path)
    parser.add_argument(
        '--model', choices=['student', 'teacher', 'both'], default='student'
    )
    parser.add_argument(
        '--config', help='the config it is meant for: its classes are checked'
    )
    args = parser.parse_args()
    expected = None
    if args.config:
        model = Config.fromfile(args.config).model
        model = model.get('detector', model)
        expected = model.panoptic_head.num_things_classes
    try:
        checkpoint, cfg = convert(args.source, args.model, expected)
    except (FileNotFoundError, ValueError) as e:
        raise SystemExit(str(e)) from e
    with write_whole(args.target) as partial:
        torch.save(checkpoint, partial)
    print(f'{args.target}: {len(checkpoint["state_dict"])} tensors')
    if args.model != 'both':
        config = args.target.with_suffix('.py')
        text = dict(default_scope='mmdet', model=cfg.to_dict())
        Config(text).dump(str(config))
        print(f'{config}: a config of MMDetection that it loads in')
    print(f'fits {fitting_configs(cfg) or "none of configs/"}')


if __name__ == '__main__':
    main()
