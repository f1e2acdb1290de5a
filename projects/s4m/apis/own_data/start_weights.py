# SPDX-License-Identifier: Apache-2.0
"""Adapt trained weights to other classes and another number of queries."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.config.utils import (
    _get_cfg_metainfo,
    _get_package_and_cfg_path,
)
from mmengine.hub import get_config
from mmengine.utils import get_installed_path
from torch import Tensor

from s4m.utils.checkpoint_files import local_file
from s4m.utils.checkpoint_meta import plain_meta
from s4m.utils.checkpoints import check_tensors, network_state, read_checkpoint
from s4m.utils.whole_files import write_whole

from .known_models import KnownModel

#: Parts of the names of tensors with a row for each class.
_CLASS_ROWS = ('rtm_cls', 'cls_embed')
#: Tensors with a row for each query.
_QUERY_ROWS = ('query_feat.weight', 'query_embed.weight')


def coco_address(model: KnownModel) -> tuple[str, tuple[str, ...]]:
    """Return the address of a network's COCO weights, and their classes.

    Both are in the files of the installed MMDetection.

    Args:
        model (KnownModel): Network with a ``coco`` config.
    """
    name = f'mmdet::{model.coco}.py'
    package, path = _get_package_and_cfg_path(name)
    meta = _get_cfg_metainfo(get_installed_path(package), path)
    cfg: Config = get_config(name)
    kind = DATASETS.get(cfg.test_dataloader.dataset.type)
    return meta['Weights'], tuple(kind.METAINFO['classes'])


def read_start(
    source: str | os.PathLike, classes: Sequence[str] | None = None
) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    """Read the weights that a training starts from, and their classes.

    Args:
        source: File or address of a checkpoint of a plain detector, or of a
            semi-supervised one, whose student is read.
        classes (Sequence[str], optional): Its classes, where the file does
            not name them. Defaults to None.

    Raises:
        FileNotFoundError: if the file does not exist.
        ConnectionError: if the address cannot be reached.
        ValueError: if the file holds something else.
    """
    try:
        file = local_file(source)
    except OSError as e:
        if isinstance(e, FileNotFoundError) and not _is_address(source):
            raise
        raise ConnectionError(
            f'{source} cannot be downloaded ({e}). Download it elsewhere and '
            'name the file with --weights FILE, or start without it: '
            '--weights none'
        ) from e
    checkpoint = read_checkpoint(file)
    state = network_state(checkpoint, 'student')
    check_tensors(state, file)
    known = (plain_meta(checkpoint).get('dataset_meta') or {}).get('classes')
    return state, tuple(known or classes or ()) or None


def _is_address(source: str | os.PathLike) -> bool:
    return str(source).startswith(('http://', 'https://'))


def adapt(
    weights: dict[str, Tensor],
    expected: dict[str, Tensor],
    *,
    classes: Sequence[str],
    source_classes: Sequence[str] | None,
    source: str | os.PathLike,
    seed: int = 0,
) -> tuple[dict[str, Tensor], list[str]]:
    """Make the weights of a network for other classes.

    The row of a class that both have is kept; so is that of "no object",
    which Mask2Former has after the classes. Another class gets a random row
    with the spread of the known ones and their mean bias. Queries that the
    weights do not have are random, with the spread of the others.

    Args:
        weights (dict): State dict of a trained detector.
        expected (dict): State dict of the network.
        classes (Sequence[str]): K class names of the network.
        source_classes (Sequence[str], optional): Class names of ``weights``.
            None if they are unknown: then no row is kept.
        source: File of the weights, for messages.
        seed (int): Seed of the random rows. Defaults to 0.

    Returns:
        tuple: the state dict, and the classes whose rows were kept.

    Raises:
        ValueError: if another tensor is missing or has another shape, since
            the weights are then of another network.
    """
    generator = torch.Generator().manual_seed(seed)
    shared = [c for c in classes if c in (source_classes or ())]
    adapted, wrong = {}, []
    for key, target in expected.items():
        value = weights.get(key)
        if value is not None and value.shape == target.shape:
            same = not _is_class_row(key) or list(classes) == list(
                source_classes or ()
            )
            if same:
                adapted[key] = value
                continue
        if _is_class_row(key):
            adapted[key] = _class_rows(
                value, target, classes, source_classes, generator
            )
        elif key.endswith(_QUERY_ROWS) and value is not None:
            adapted[key] = _more_rows(value, target, generator)
        elif key.endswith('num_batches_tracked'):
            adapted[key] = target
        else:
            wrong.append(key)
    if wrong:
        raise ValueError(
            f'{source} has the weights of another network: {len(wrong)} '
            f'tensors are missing or of another shape, such as {wrong[0]}'
        )
    return adapted, shared


def _is_class_row(key: str) -> bool:
    return any(part in key for part in _CLASS_ROWS)


def _more_rows(
    value: Tensor, target: Tensor, generator: torch.Generator
) -> Tensor:
    """Take the first rows, and draw those that are missing."""
    missing = len(target) - len(value)
    if missing <= 0:
        return value[: len(target)].clone()
    drawn = torch.randn(missing, *value.shape[1:], generator=generator)
    return torch.cat((value, drawn * value.std() + value.mean(0)))


def _class_rows(
    value: Tensor | None,
    target: Tensor,
    classes: Sequence[str],
    source_classes: Sequence[str] | None,
    generator: torch.Generator,
) -> Tensor:
    """Make the rows of the classes of one layer."""
    drawn = torch.randn(target.shape, generator=generator)
    if value is None or value.shape[1:] != target.shape[1:]:
        return 0.01 * drawn if target.dim() > 1 else target.clone()
    if target.dim() > 1:
        rows = drawn * value.std()
    else:
        rows = value.mean().expand(target.shape).clone()
    names = list(source_classes or ())
    for i, name in enumerate(classes):
        if name in names and names.index(name) < len(value):
            rows[i] = value[names.index(name)]
    extra = len(target) - len(classes)
    if extra == 1 and names and len(value) == len(names) + 1:
        rows[-1] = value[-1]
    return rows


def write_start(
    out: str | os.PathLike,
    weights: dict[str, Tensor],
    classes: Sequence[str],
) -> Path:
    """Write adapted weights as a checkpoint.

    Args:
        out: File to write.
        weights (dict): State dict of the network.
        classes (Sequence[str]): Its classes.
    """
    meta = dict(dataset_meta=dict(classes=tuple(classes)))
    with write_whole(Path(out)) as partial:
        torch.save(dict(meta=meta, state_dict=weights), partial)
    return Path(out)
