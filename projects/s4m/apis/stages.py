# SPDX-License-Identifier: Apache-2.0
"""Derive the stages of a method from the config of the last one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .config import config_path, find_config, get_config
from .records import inputs_of
from .splits import (
    INPUTS,
    check_split,
    split_options,
    value_of,
    work_dir_options,
)


@dataclass(frozen=True)
class Stage:
    """One training and the stages that it needs.

    Attributes:
        config (Path): File of the config.
        makes (Path): Work directory, which gets the checkpoints.
        needs (dict[str, Stage]): Stages whose results the training starts
            from, by the key of the config that names them:
            ``model.teacher_checkpoint`` (weights of the teacher),
            ``pseudo_labels.teacher`` (a file of pseudo-labels) or
            ``load_from`` (weights of the student). Defaults to none.
        options (dict[str, Any]): Values of the config that are replaced, by
            dotted key. Defaults to none.

    Example:
        >>> Stage(Path('configs/a.py'), Path('work_dirs/a')).name
        'a'
    """

    config: Path
    makes: Path
    needs: dict[str, Stage] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the work directory."""
        return self.makes.name

    def load(self) -> Config:
        """Read the config with the options of this stage."""
        return get_config(self.config, self.options)


def stages_of(
    config: str | Path,
    *,
    root: str | Path = 'work_dirs',
    split: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    options_of: Callable[[Config], Mapping[str, Any]] | None = None,
) -> list[Stage]:
    """Derive the stages of a config from the config.

    A config starts from another stage where ``model.teacher_checkpoint``,
    ``pseudo_labels.teacher`` or ``load_from`` names ``work_dirs/STAGE`` or a
    checkpoint in it; a file from elsewhere is not a stage.

    Args:
        config (str | Path): Config of the last stage, by path or by name.
        root (str | Path): Folder of the work directories. Defaults to
            ``work_dirs``.
        split (str, optional): Name of another split, for all stages; their
            work directories are then in ``root/SPLIT``. Defaults to None.
        cfg_options (Mapping, optional): Values that are replaced in the
            configs of all stages which have the part, by dotted key: the
            burn-in only where there is a mean teacher. What a stage starts
            from is replaced in the last one only. Defaults to None.
        options_of (Callable, optional): Function of a config that returns
            further values to replace. Defaults to None.

    Returns:
        list[Stage]: stages in the order in which they train.

    Raises:
        FileNotFoundError: if a config, or the file of the split, is missing.
        ValueError: if a stage needs itself, or no stage has the part that an
            option is for.

    Example::

        [stage.name for stage in stages_of('s4m_cityscapes_10p')]
        # ['s4m_teacher_cityscapes_10p', 's4m_cityscapes_10p']
    """
    if split is not None:
        root = Path(root, Path(split).name)
    common = dict(cfg_options or {})
    stages = _chain(
        config_path(config),
        Path(root),
        split,
        common,
        options_of or (lambda cfg: {}),
    )
    for key in common:
        if not any(key in stage.options for stage in stages):
            raise ValueError(
                f'{key}: no stage of {stages[-1].name} has '
                f'{key.rpartition(".")[0]}'
            )
    return stages


def _chain(
    config: Path,
    root: Path,
    split: str | None,
    common: dict[str, Any],
    options_of: Callable[[Config], Mapping[str, Any]],
    after: tuple[Path, ...] = (),
) -> list[Stage]:
    """Return the stages of a config, which belongs to the last one."""
    if config in after:
        raise ValueError(
            f'{config.stem} starts from itself: '
            + ' needs '.join(path.stem for path in (*after, config))
        )
    given, cfg = common, get_config(config)
    common = _fitting(cfg, given, is_last=not after)
    cfg.merge_from_dict(common)
    before: list[Stage] = []
    needs = {}
    for key, place in inputs_of(cfg).items():
        folder = Path(place)
        if folder.suffix == '.pth':
            folder = folder.parent
        if folder.parent != Path('work_dirs'):
            continue
        file = find_config(folder.name, beside=config.parent)
        chain = _chain(file, root, split, given, options_of, (*after, config))
        before += [stage for stage in chain if stage not in before]
        needs[key] = chain[-1]
    options = dict(options_of(cfg))
    if root != Path('work_dirs'):
        options |= work_dir_options(cfg, root)
    if split is not None:
        options |= split_options(cfg, split)
    stage = Stage(config, root / config.stem, needs, options | common)
    if split is not None:
        cfg.merge_from_dict(stage.options)
        check_split(cfg)
    return [*before, stage]


def _fitting(
    cfg: Config, options: Mapping[str, Any], is_last: bool
) -> dict[str, Any]:
    """Select the options that are for parts of a stage's config.

    MMEngine would add the other ones as new parts, for instance a hook that
    has a burn-in but no type.
    """
    fitting = {}
    for key, value in options.items():
        section, *rest = key.split('.')
        inner = section in ('model', 'default_hooks') and len(rest) > 1
        if inner and value_of(cfg, f'{section}.{rest[0]}') is None:
            continue
        if key.startswith('train_dataloader.dataset.') and len(rest) > 2:
            if value_of(cfg, f'{section}.dataset.{rest[1]}') is None:
                continue
        if key in INPUTS and not is_last:
            continue
        fitting[key] = value
    return fitting
