# SPDX-License-Identifier: Apache-2.0
"""Read configs by path or by name, from any directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config as get_scoped_config

from s4m.engine import setup_distributed

from .splits import split_options, work_dir_options

# MMEngine resolves `_base_ = 's4m::...'` for the packages in this table.
MODULE2PACKAGE.setdefault('s4m', 's4m')


def resource_dir() -> Path:
    """Return the package's ``.mim``, with ``configs/`` and ``tools/``."""
    return Path(__file__).resolve().parents[1] / '.mim'


def list_configs() -> list[str]:
    """List the names of all configs in sorted order.

    Example:
        >>> 's4m_cityscapes_10p' in list_configs()
        True
    """
    return sorted(_configs())


def _configs() -> dict[str, Path]:
    folder = resource_dir() / 'configs'
    return {
        path.stem: path
        for path in sorted(folder.rglob('*.py'))
        if '_base_' not in path.parts
    }


def find_config(name: str, beside: str | Path | None = None) -> Path:
    """Find the file of a config.

    Args:
        name (str): File name without ``.py``.
        beside (str | Path, optional): Folder that is searched first, where
            configs of a user name each other. Defaults to None.

    Raises:
        FileNotFoundError: if there is no such config; the message lists
            similar names.

    Example:
        >>> find_config('s4m_cityscapes_10p').name
        's4m_cityscapes_10p.py'
    """
    if beside is not None and Path(beside, f'{name}.py').is_file():
        return Path(beside, f'{name}.py')
    configs = _configs()
    if name not in configs:
        start = name.rsplit('_', 1)[0]
        near = [n for n in configs if n.startswith(start)]
        near = near or [n for n in configs if n.startswith(name.split('_')[0])]
        raise FileNotFoundError(
            f'There is no config {name}.py; there are '
            f'{", ".join(near) or "those of configs/README.md"}.'
        )
    return configs[name]


def get_config(
    config: str | Path, cfg_options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config.

    Args:
        config (str | Path): A file, a name such as ``s4m_cityscapes_10p``,
            or a file of an installed package, such as
            ``s4m::s4m_cityscapes_10p.py`` or ``mmdet::FOLDER/FILE.py``.
        cfg_options (Mapping, optional): Values that are replaced, by dotted
            key. Defaults to None.

    Raises:
        FileNotFoundError: if the config does not exist.

    Example::

        cfg = get_config('s4m_cityscapes_10p', {'train_cfg.max_iters': 9})
        cfg.model.type  # 'SemiInstanceSegmentor'
    """
    scope = str(config).rpartition('::')[0]
    if scope and scope != 's4m':
        cfg = get_scoped_config(str(config))
    else:
        cfg = Config.fromfile(str(config_path(config)))
    if cfg_options:
        cfg.merge_from_dict(dict(cfg_options))
    return cfg


def config_path(config: str | Path) -> Path:
    """Return the file of a config given by path, name or ``s4m::...``.

    Raises:
        FileNotFoundError: if the file does not exist.
    """
    text = str(config)
    if text.startswith('s4m::'):
        path = resource_dir() / 'configs' / text.removeprefix('s4m::')
    else:
        path = Path(config)
    if path.is_file():
        return path
    if path.suffix == '.py' or os.sep in text:
        raise FileNotFoundError(
            f'Config {config} does not exist; s4m.apis.list_configs() names '
            'those of this package'
        )
    return find_config(text.removeprefix('s4m::'))


def load_config(
    config: str | Path,
    *,
    work_dir: str | Path | None = None,
    split: str | None = None,
    launcher: str = 'none',
    cfg_options: Mapping[str, Any] | None = None,
) -> Config:
    """Read a config for a runner of this process.

    Args:
        config (str | Path): As for :func:`get_config`.
        work_dir (str | Path, optional): Folder of logs and checkpoints.
            Defaults to the config's ``work_dir``, else to
            ``work_dirs/NAME``, or ``work_dirs/SPLIT/NAME`` for another
            split.
        split (str, optional): Name of another split
            (:func:`s4m.apis.splits.split_options`). Defaults to None.
        launcher (str): Launcher of a distributed run: ``pytorch``, ``slurm``,
            ``mpi`` or ``none``. Defaults to ``none``.
        cfg_options (Mapping, optional): Values that are replaced, by dotted
            key. They override the values of the split.

    Raises:
        FileNotFoundError: if the config does not exist.
        ValueError: if there are fewer GPUs than processes on this machine,
            or the config has no labelled set that a split could name.
    """
    check_gpus()
    cfg = get_config(config, cfg_options)
    root = Path('work_dirs')
    if split is not None:
        root /= Path(split).name
        cfg.merge_from_dict(split_options(cfg, split))
        cfg.merge_from_dict(work_dir_options(cfg, root))
        cfg.merge_from_dict(dict(cfg_options or {}))
    # MMEngine does this for the names of its own hooks only.
    hooks = cfg.get('default_hooks') or {}
    for name in [key for key, hook in hooks.items() if hook is None]:
        del hooks[name]
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(root / Path(cfg.filename).stem)
    setup_distributed(cfg)
    return cfg


def check_gpus() -> None:
    """Check that this machine has a GPU for each of its processes.

    Raises:
        ValueError: if there are GPUs, but fewer than processes.
    """
    wanted = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    available = torch.cuda.device_count()
    if 0 < available < wanted:
        raise ValueError(
            f'{wanted} GPUs were asked for, this machine has {available}'
        )
