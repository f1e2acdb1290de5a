# SPDX-License-Identifier: Apache-2.0
"""Publish checkpoints of this project as plain MMDetection ones."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from s4m import models
from s4m.utils.checkpoint_meta import plain_meta
from s4m.utils.checkpoints import (
    check_tensors,
    load_strictly,
    network_state,
    read_checkpoint,
)
from s4m.utils.whole_files import write_whole

from .config import get_config
from .prediction import config_classes

#: MMDetection's class with the same parameters and keys, by plugin class.
STOCK_TYPES = {
    'BatchedMaskFormerHead': 'MaskFormerHead',
    'BatchedRTMDetInsHead': 'RTMDetInsSepBNHead',
    'ContrastiveMask2Former': 'Mask2Former',
    'DistillCondInst': 'CondInst',
    'DistillMask2Former': 'Mask2Former',
    'DistillMaskFormer': 'MaskFormer',
    'DistillMaskRCNN': 'MaskRCNN',
    'DistillQueryInst': 'QueryInst',
    'DistillRTMDet': 'RTMDet',
    'DistillSOLOv2': 'SOLOv2',
    'DistillMask2FormerHead': 'Mask2FormerHead',
    'Fp32MSDeformAttnPixelDecoder': 'MSDeformAttnPixelDecoder',
}
#: Arguments that only training with this plugin's classes reads.
CONTRASTIVE_ARGUMENTS = (
    'loss_contrast',
    'strong_augment',
    'sup_weight',
    'semi_weight',
    'joint',
    'feature_level',
)
DISTILL_ARGUMENTS = (
    'segmenter',
    'loss_distill',
    'feature_source',
    'feature_index',
    'points_per_image',
)
#: Prefix of the weights that only the contrastive loss reads.
LOSS_WEIGHTS = 'loss_contrast.'


def select_weights(state: dict, model: str) -> dict:
    """Take the weights of one network out of a state dict.

    Args:
        state (dict): State dict of a plain or a semi-supervised detector.
        model (str): ``student`` or ``teacher``; a plain detector has only
            one network, which both names select.

    Raises:
        ValueError: if the state dict has no such network.

    Example:
        >>> select_weights({'student.w': 1, 'teacher.w': 2}, 'teacher')
        {'w': 2}
    """
    if not any(k.startswith(('student.', 'teacher.')) for k in state):
        return {
            k: v for k, v in state.items() if not k.startswith(LOSS_WEIGHTS)
        }
    if not any(k.startswith(f'{model}.') for k in state):
        raise ValueError(f'the checkpoint has no {model}')
    return network_state(state, model)


def plain_config(cfg: Config) -> Config:
    """Make a config of the network alone, with MMDetection's classes.

    Classes without a counterpart in MMDetection stay, and the config then
    imports this plugin (``custom_imports``).

    Args:
        cfg (Config): Config of a plain or a semi-supervised detector.

    Returns:
        Config: The model and its test settings.
    """
    model = cfg.model
    if model.type == 'SemiInstanceSegmentor':
        model = model.detector
    model = model.to_dict()
    is_distilled = model['type'].startswith('Distill')
    for name in DISTILL_ARGUMENTS if is_distilled else CONTRASTIVE_ARGUMENTS:
        model.pop(name, None)
    preprocessor = dict(cfg.model.data_preprocessor)
    preprocessor['type'] = 'DetDataPreprocessor'
    preprocessor.setdefault('bgr_to_rgb', True)
    model['data_preprocessor'] = preprocessor
    ours = _rename(model)
    # The weights come with the config.
    model.pop('init_cfg', None)
    model.get('detector', model)['backbone']['init_cfg'] = None
    dataset = cfg.test_dataloader.to_dict()
    imports = {}
    if ours:
        imports['custom_imports'] = dict(
            imports=['s4m'], allow_failed_imports=False
        )
    return Config(
        dict(
            default_scope='mmdet',
            **imports,
            model=model,
            test_dataloader=dataset,
            test_cfg=dict(type='TestLoop'),
            test_evaluator=_stock_evaluators(cfg.test_evaluator),
            visualizer=cfg.visualizer,
        )
    )


def _stock_evaluators(evaluators: ConfigDict | list[ConfigDict]) -> list[dict]:
    """Replace this plugin's metrics by those of MMDetection that they extend.

    Args:
        evaluators (ConfigDict | list[ConfigDict]): Metrics of a config.

    Returns:
        list[dict]: Metrics that need no plugin.
    """
    listed = evaluators if isinstance(evaluators, list) else [evaluators]
    stock = [dict(metric) for metric in listed]
    for metric in stock:
        if metric['type'] == 'CocoInstanceMetric':
            metric['type'] = 'CocoMetric'
            metric.pop('max_dets', None)
        elif metric['type'] == 'CityscapesInstanceMetric':
            metric['type'] = 'CityScapesMetric'
            # MMDetection's metric has no folder of its own for predictions.
            metric.setdefault('outfile_prefix', 'work_dirs/cityscapes_metric')
    return stock


def _rename(node: Any) -> set[str]:
    """Replace this plugin's classes by MMDetection's, in place.

    Returns:
        set[str]: the plugin's classes that have no counterpart.
    """
    ours: set[str] = set()
    if isinstance(node, dict):
        name = node.get('type')
        if name in STOCK_TYPES:
            node['type'] = STOCK_TYPES[name]
            if name == 'Fp32MSDeformAttnPixelDecoder':
                # MMDetection's has neither checkpointing nor bf16.
                node.pop('with_cp', None)
                node.pop('bf16', None)
        elif isinstance(name, str) and hasattr(models, name):
            ours.add(name)
        if (
            name == 'DistillMask2FormerHead'
            and 'encoder' not in node['pixel_decoder']
        ):
            # MMDetection's head wants a deformable encoder.
            node['type'] = name
            ours.add(name)
    values = node.values() if isinstance(node, dict) else node
    if isinstance(node, dict | list | tuple):
        for value in values:
            ours |= _rename(value)
    return ours


def publish(
    config: str | Path,
    checkpoint: str | os.PathLike,
    *,
    out: str | os.PathLike = 'published',
    model: str = 'student',
) -> tuple[Path, Path]:
    """Write the plain checkpoint and config of one network.

    Both work without this plugin, unless the network has a class without a
    counterpart in MMDetection (a DINOv2 backbone, the DPT decoder, a
    ``PromptedDetector``); a message says so.

    Args:
        config: Config, by path or by name, of a plain or a semi-supervised
            detector.
        checkpoint: A checkpoint that was trained with it.
        out: Folder of the two files. Defaults to ``published``.
        model (str): ``student`` or ``teacher``. Defaults to ``student``.

    Returns:
        tuple[Path, Path]: ``NAME-<8 hex digits of its sha256>.pth`` with
        weights and meta only, and ``NAME.py``.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if the checkpoint cannot be read, has no such network, or
            does not fit the config. Nothing is written then.
    """
    cfg = get_config(config)
    source = read_checkpoint(checkpoint)
    state = source.get('state_dict')
    if not isinstance(state, dict):
        raise ValueError(
            f'{checkpoint} has no state_dict: it is not a checkpoint of this '
            'project.'
        )
    check_tensors(state, checkpoint)
    weights = select_weights(state, model)
    plain = plain_config(cfg)
    if 'custom_imports' in plain:
        print('This model works where this plugin (s4m) is installed.')
    init_default_scope('mmdet')
    network = MODELS.build(ConfigDict(plain.model))
    hint = f'Is {config} the config that it was trained with?'
    load_strictly(network, weights, checkpoint, hint=hint)

    out = Path(out)
    name = Path(cfg.filename).stem + (
        '' if model == 'student' else f'_{model}'
    )
    read = plain_meta(source)
    meta = {
        k: v
        for k, v in read.items()
        if k in ('dataset_meta', 'iter', 'mmengine_version', 'seed')
    }
    names = meta.get('dataset_meta') or {}
    meta['dataset_meta'] = {'classes': tuple(config_classes(cfg))} | names
    # The file's name holds its digest, so it is made in memory first.
    buffer = io.BytesIO()
    torch.save({'meta': meta, 'state_dict': weights}, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    target = out / f'{name}-{digest[:8]}.pth'
    with write_whole(target) as partial:
        partial.write_bytes(buffer.getbuffer())
    plain.dump(str(out / f'{name}.py'))
    return target, out / f'{name}.py'
