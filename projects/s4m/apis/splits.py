# SPDX-License-Identifier: Apache-2.0
"""Give all stages another split of labelled and unlabelled images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

#: Keys of a config that name results of another stage in ``work_dirs/``.
INPUTS = (
    'model.teacher_checkpoint',
    'pseudo_labels.teacher',
    'train_dataloader.dataset.unlabeled.ann_file',
    'load_from',
)


def split_options(cfg: Config, split: str) -> dict[str, str]:
    """Return options of a config for another split of the same data set.

    A split consists of ``NAME.json`` with the labelled images and
    ``NAME-unlabeled.json``, as tools/dataset_converters/ write them. The
    second file replaces the unlabelled images of a config only if both files
    of the config have one name: ``published@10-unlabeled.json`` is replaced,
    a file of all images is not.

    Args:
        cfg (Config): Config of any stage.
        split (str): NAME, for instance ``seed0@10``, in the folder of the
            config's split; or a path without ``.json``, relative to that
            folder or absolute.

    Returns:
        dict[str, str]: values by dotted key, for ``cfg_options``.

    Raises:
        ValueError: if the training set does not name one annotation file.

    Example:
        >>> dataset = dict(ann_file='semi/published@10.json')
        >>> cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
        >>> split_options(cfg, 'seed0@10')
        {'train_dataloader.dataset.ann_file': 'semi/seed0@10.json'}
    """
    if split.endswith('.json'):
        raise ValueError(f'Name the split {split} without .json')
    key, labeled = _labeled(cfg)
    stem = labeled.ann_file.removesuffix('.json')
    new = os.path.join(os.path.dirname(stem), split)
    options = {f'{key}.ann_file': f'{new}.json'}
    goes_with = f'{stem}-unlabeled.json'
    for name in (
        'train_dataloader.dataset.unlabeled.ann_file',
        'pseudo_labels.images',
    ):
        value = str(value_of(cfg, name))
        if value.endswith(goes_with):
            root = value.removesuffix(goes_with)
            options[name] = os.path.join(root, f'{new}-unlabeled.json')
    return options


def check_split(cfg: Config) -> None:
    """Check that the annotation file of the labelled images exists.

    Raises:
        FileNotFoundError: if it does not exist; the message has the command
            that makes a split.
    """
    _, labeled = _labeled(cfg)
    root = labeled.get('data_root') or ''
    file = Path(root, labeled.ann_file)
    if not file.is_file():
        raise FileNotFoundError(
            f'There is no split {file}. Make it with tools/dataset_converters/'
            f'cityscapes_splits.py {root or "DATA"} --percent P --seed S, or '
            'with coco_splits.py.'
        )


def work_dir_options(cfg: Config, root: str | Path) -> dict[str, str]:
    """Return options that read the results of other stages from a folder.

    Args:
        cfg (Config): Config of a stage, which names work directories as
            ``work_dirs/STAGE``.
        root (str | Path): Folder that replaces ``work_dirs``.

    Returns:
        dict[str, str]: values by dotted key, for ``cfg_options``.

    Example:
        >>> cfg = Config(dict(load_from='work_dirs/a/iter_9.pth'))
        >>> work_dir_options(cfg, 'runs')
        {'load_from': 'runs/a/iter_9.pth'}
    """
    values = {name: value_of(cfg, name) for name in INPUTS}
    return {
        name: str(Path(root, value.removeprefix('work_dirs/')))
        for name, value in values.items()
        if str(value).startswith('work_dirs/')
    }


def value_of(cfg: Config | ConfigDict, key: str) -> Any:
    """Return the value of a dotted key, or None if the config lacks it."""
    node: Any = cfg
    for part in key.split('.'):
        if not isinstance(node, Config | dict) or part not in node:
            return None
        node = node[part]
    return node


def _labeled(cfg: Config) -> tuple[str, ConfigDict]:
    """Return key and config of the data set of labelled images."""
    key = 'train_dataloader.dataset'
    for name in (f'{key}.labeled', key):
        dataset = value_of(cfg, name)
        if dataset is not None and isinstance(dataset.get('ann_file'), str):
            return name, dataset
    raise ValueError(
        f'{cfg.filename}: {key} has no ann_file, nor has {key}.labeled; a '
        'split cannot be named'
    )
