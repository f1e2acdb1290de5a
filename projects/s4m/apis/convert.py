# SPDX-License-Identifier: Apache-2.0
"""Convert Mask2Former's checkpoints between detectron2 and MMDetection."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import Tensor

from s4m.utils.checkpoints import (
    check_tensors,
    compare_state_dicts,
    read_checkpoint,
)
from s4m.utils.digests import file_digest
from s4m.utils.pickled_arrays import read_arrays
from s4m.utils.whole_files import write_whole

from .config import get_config
from .detectron2_keys import DROPPED, to_detectron2, to_mmdet
from .mask2former_config import fitting_configs, model_config
from .publish import LOSS_WEIGHTS

VERSION = 1
_PREFIXES = dict(student='modelStudent.', teacher='modelTeacher.')
#: Data sets by their number of instance classes.
_DATASETS = {
    8: 'CityscapesDataset',
    80: 'CocoDataset',
    100: 'ADE20KInstanceDataset',
}


# ----------------------------------------------------------- to MMDetection
def detectron2_to_mmdet(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    model: str = 'student',
    config: str | Path | None = None,
) -> Path:
    """Write a checkpoint of detectron2 as one of MMDetection.

    For one network the function also writes the config of the checkpoint,
    with the same name and the suffix ``.py``.

    Args:
        source: See :func:`convert_to_mmdet`.
        target: The file to write.
        model (str): ``student``, ``teacher`` or ``both``. Defaults to
            ``student``.
        config (optional): Config, by path or by name, that the checkpoint is
            meant for; its number of classes is checked. Defaults to None,
            which checks nothing.

    Returns:
        Path: ``target``.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if ``target`` ends in ``.py``; see also
            :func:`convert_to_mmdet`. Nothing is written then.
    """
    target = _weights_file(target)
    num_classes = None
    if config is not None:
        expected = get_config(config).model
        expected = expected.get('detector', expected)
        if 'panoptic_head' not in expected:
            raise ValueError(f'{config} is not a config of a Mask2Former.')
        num_classes = expected.panoptic_head.num_things_classes
    checkpoint, cfg = convert_to_mmdet(
        source, model=model, num_classes=num_classes
    )
    with write_whole(target) as partial:
        torch.save(checkpoint, partial)
    print(f'{target}: {len(checkpoint["state_dict"])} tensors')
    if model != 'both':
        file = target.with_suffix('.py')
        text = dict(default_scope='mmdet', model=cfg.to_dict())
        Config(text).dump(str(file))
        print(f'{file}: a config of MMDetection that it loads in')
    print(f'fits {fitting_configs(cfg) or "none of configs/"}')
    return target


def convert_to_mmdet(
    source: str | os.PathLike,
    *,
    model: str = 'student',
    num_classes: int | None = None,
) -> tuple[dict, ConfigDict]:
    """Convert a checkpoint of detectron2, and derive its config.

    Every tensor of the file is used and every tensor of the model is set.

    Args:
        source: ``.pth`` of S4M, Guided Distillation or Mask2Former, or
            ``.pkl`` of detectron2's model zoo.
        model (str): ``student``, ``teacher`` or ``both``, which gives a
            checkpoint of a ``SemiInstanceSegmentor``. A plain Mask2Former
            counts as a student. Defaults to ``student``.
        num_classes (int, optional): Number of classes that is expected.
            Defaults to None, which accepts any number.

    Returns:
        tuple: the checkpoint, and the config of its network.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it cannot be read, is not a whole Mask2Former with a
            ResNet or Swin, has no such network or other classes.
    """
    source = Path(source)
    read = read_arrays if source.suffix == '.pkl' else read_checkpoint
    data = read(source)
    state = data.get('model', data)
    if not isinstance(state, dict):
        raise ValueError(f'{source} has no weights.')
    check_tensors(state, source)
    try:
        parts = _networks(state)
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
        converted, dropped, filled = {}, {}, {}
        for name in names:
            part = parts[name]
            dropped[name] = {k: part.pop(k) for k in DROPPED if k in part}
            ours = to_mmdet(part)
            cfg = model_config(ours)
            classes = cfg.panoptic_head.num_things_classes
            if num_classes is not None and classes != num_classes:
                raise ValueError(
                    f'it has {classes} classes, the config {num_classes}'
                )
            converted[name], filled[name] = _complete(ours, cfg)
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
    digest = file_digest(source)
    meta = dict(
        dataset_meta=dict(classes=class_names(classes)),
        converted_from=dict(sha256=digest, name=source.name, version=VERSION),
        # The way back needs what MMDetection has no place for.
        detectron2=dict(dropped=dropped, filled=filled),
    )
    return dict(meta=meta, state_dict=state), cfg


def class_names(number: int) -> tuple[str, ...]:
    """Return the names of the data set with a number of instance classes.

    Args:
        number (int): 8 is Cityscapes, 80 COCO, 100 ADE20K; the classes of
            any other number are called ``0``, ``1`` and so on.

    Example:
        >>> class_names(2)
        ('0', '1')
    """
    if number not in _DATASETS:
        return tuple(str(i) for i in range(number))
    return DATASETS.get(f'mmdet.{_DATASETS[number]}').METAINFO['classes']


def _networks(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Sort tensors by ``student`` and ``teacher``, or ``model``."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        for name, prefix in _PREFIXES.items():
            if key.startswith(prefix):
                parts.setdefault(name, {})[key.removeprefix(prefix)] = value
                break
        else:
            parts.setdefault('model', {})[key] = value
    if 'model' in parts and len(parts) > 1:
        prefixes = ' and '.join(f'{p}*' for p in _PREFIXES.values())
        raise ValueError(
            f'tensors beside {prefixes}: {sorted(parts["model"])[:5]}'
        )
    return parts


def _complete(
    state: dict[str, Tensor], model: ConfigDict
) -> tuple[dict[str, Tensor], list[str]]:
    """Check a state dict against its model, strictly.

    Counters of batches, which frozen norms do not have, are set to 0.

    Returns:
        tuple: the whole state dict, and the names of the added counters.
    """
    init_default_scope('mmdet')
    expected = revert_sync_batchnorm(MODELS.build(model)).state_dict()
    filled = [
        key
        for key in expected
        if key.endswith('.num_batches_tracked') and key not in state
    ]
    state = state | {key: torch.zeros_like(expected[key]) for key in filled}
    missing, unexpected, shapes = compare_state_dicts(expected, state)
    if missing or unexpected or shapes:
        raise ValueError(
            'the weights are not a whole Mask2Former: '
            f'missing {missing[:5]} ({len(missing)}), unused '
            f'{unexpected[:5]} ({len(unexpected)}), of another shape '
            f'{shapes[:5]} ({len(shapes)})'
        )
    return {key: state[key] for key in expected}, filled


# ------------------------------------------------------------ to detectron2
def mmdet_to_detectron2(
    source: str | os.PathLike, target: str | os.PathLike
) -> Path:
    """Write a checkpoint of MMDetection as one of detectron2.

    Args:
        source: See :func:`convert_to_detectron2`.
        target: The file to write.

    Returns:
        Path: ``target``.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if ``target`` ends in ``.py``, or ``source`` is not a
            checkpoint of a Mask2Former.
    """
    target = _weights_file(target)
    checkpoint = convert_to_detectron2(source)
    with write_whole(target) as partial:
        torch.save(checkpoint, partial)
    print(f'{target}: {len(checkpoint["model"])} tensors')
    return target


def convert_to_detectron2(
    source: str | os.PathLike,
) -> dict[str, dict[str, Tensor]]:
    """Convert a checkpoint of MMDetection.

    It inverts :func:`convert_to_mmdet` exactly. Weights that only the
    contrastive loss reads are left out.

    Args:
        source: A checkpoint of a ``Mask2Former``, ``DistillMask2Former`` or
            ``ContrastiveMask2Former``, or of a ``SemiInstanceSegmentor``.

    Returns:
        dict: ``model``: a plain Mask2Former, or ``modelStudent.*`` and
        ``modelTeacher.*`` as S4M and Guided Distillation have them.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it cannot be read, or holds another network than a
            Mask2Former.
    """
    data = read_checkpoint(source)
    state = data.get('state_dict')
    if not isinstance(state, dict):
        raise ValueError(
            f'{source} has no state_dict: it is not a checkpoint of '
            'MMDetection.'
        )
    check_tensors(state, source)
    meta = data.get('meta')
    meta = meta.get('detectron2', {}) if isinstance(meta, dict) else {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, _, rest = key.partition('.')
        if name not in _PREFIXES:
            name, rest = 'model', key
        if not rest.startswith(LOSS_WEIGHTS):
            parts.setdefault(name, {})[rest] = value
    out: dict[str, Tensor] = {}
    for name, part in parts.items():
        # A published student or teacher is a plain model here.
        known = set(meta.get('filled', {}))
        origin = name if name in known or len(known) != 1 else min(known)
        for key in meta.get('filled', {}).get(origin, ()):
            part.pop(key, None)
        try:
            converted = to_detectron2(part)
        except ValueError as e:
            raise ValueError(f'{source}: {e}') from e
        dropped = meta.get('dropped', {}).get(origin)
        if dropped is None:
            dropped = {'criterion.empty_weight': _class_weights(part, source)}
        prefix = _PREFIXES.get(origin, '')
        out.update({prefix + k: v for k, v in (converted | dropped).items()})
    return dict(model=out)


def _class_weights(
    state: dict[str, Tensor], source: str | os.PathLike
) -> Tensor:
    """Make the class weights (K + 1, ) that detectron2's loss saves."""
    key = 'panoptic_head.cls_embed.weight'
    if key not in state:
        raise ValueError(f'{source} is not a Mask2Former: it has no {key}.')
    weight = torch.ones(state[key].shape[0])
    weight[-1] = 0.1
    return weight


def _weights_file(target: str | os.PathLike) -> Path:
    target = Path(target)
    if target.suffix == '.py':
        raise ValueError(
            f'{target} is the name of a config; name the file of the weights '
            f'{target.with_suffix(".pth")}.'
        )
    return target
