# SPDX-License-Identifier: Apache-2.0
"""Record what a work directory was trained with.

``trained_with.json`` holds the values of the config that determine the
weights, and a digest of each checkpoint that the training started from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from s4m.utils.checkpoints import find_checkpoint
from s4m.utils.digests import file_digest
from s4m.utils.whole_files import write_json

from .precision import PRECISION_KEYS
from .splits import INPUTS, value_of

RECORD = 'trained_with.json'
#: File in the work directory of a run that ``EarlyStoppingHook`` ended.
STOPPED_EARLY = 'stopped_early.json'

_DECIDES = (
    'model',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'custom_hooks',
    'default_hooks',
    'randomness',
)
#: Keys in these parts that do not change the weights: they only log, evaluate
#: or load. Checkpoints are compared by their contents instead of their paths.
_WITHOUT_EFFECT = (
    *INPUTS[:2],
    'model.semi_test_cfg',
    'model.test_cfg',
    'train_cfg.val_interval',
    'train_cfg.val_begin',
    'train_dataloader.num_workers',
    'train_dataloader.persistent_workers',
    'train_dataloader.pin_memory',
    'train_dataloader.prefetch_factor',
    *(
        f'default_hooks.{name}'
        for name in (
            'annotation_check',
            'checkpoint',
            'contrast_log',
            'drift_log',
            'logger',
            'random_state',
            'refine_log',
            'stop_signal',
            'timer',
            'visualization',
        )
    ),
)


def inputs_of(cfg: Config) -> dict[str, str]:
    """Return the checkpoints that a training starts from, by key.

    Returns:
        dict[str, str]: files or work directories under the keys
        ``model.teacher_checkpoint``, ``pseudo_labels.teacher`` and
        ``load_from``, as far as the config has them.

    Example:
        >>> inputs_of(Config(dict(load_from='work_dirs/a/iter_9.pth')))
        {'load_from': 'work_dirs/a/iter_9.pth'}
    """
    values = {
        key: value_of(cfg, key) for key in INPUTS if not key.endswith('file')
    }
    return {key: str(value) for key, value in values.items() if value}


def write_record(cfg: Config, *, resumed: bool = False) -> None:
    """Write the record of a training that begins.

    Unless it resumes, ``last_checkpoint`` and ``stopped_early.json`` of a
    former training in the same directory are removed, its ``best_*.pth``
    become ``former_best_*.pth``, and the names of the former checkpoints,
    which stay, are recorded: they belong to no training of this config.

    Args:
        cfg (Config): Config of the runner, with its ``work_dir``.
        resumed (bool): Whether the training resumes from a checkpoint of
            this work directory; the digests of its inputs then stay.
            Defaults to False.

    Raises:
        ValueError: if there is a record that is damaged.
    """
    record = read_record(cfg.work_dir) or {}
    inputs = record.get('inputs', {}) if resumed else {}
    former = record.get('former_checkpoints', []) if resumed else []
    work_dir = Path(cfg.work_dir)
    if not resumed:
        for key, place in inputs_of(cfg).items():
            digest = _digest(place)
            if digest is not None:
                inputs[key] = digest
        for best in work_dir.glob('best_*.pth'):
            best.replace(best.with_name(f'former_{best.name}'))
        former = sorted(file.name for file in work_dir.glob('*.pth'))
        for name in ('last_checkpoint', STOPPED_EARLY):
            (work_dir / name).unlink(missing_ok=True)
    write_json(
        work_dir / RECORD,
        dict(
            config=_decisive(cfg),
            # Whether the machine chose the precision of ``optim_wrapper``.
            default_precision=bool(cfg.get('default_precision')),
            inputs=inputs,
            former_checkpoints=former,
            seconds=record.get('seconds', 0) if resumed else 0,
        ),
        indent=1,
    )


def add_seconds(work_dir: str | Path, seconds: float) -> None:
    """Add the duration of a training to its record, if there is one."""
    record = read_record(work_dir)
    if record is not None:
        record['seconds'] = round(record['seconds'] + seconds, 1)
        write_json(Path(work_dir) / RECORD, record, indent=1)


def read_record(work_dir: str | Path) -> dict[str, Any] | None:
    """Read the record of a work directory, or None where there is none.

    Raises:
        ValueError: if the record is damaged.
    """
    file = Path(work_dir) / RECORD
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text())
    except ValueError:
        record = None
    keys = {'config', 'inputs', 'seconds'}
    if not isinstance(record, dict) or not keys <= record.keys():
        raise ValueError(
            f'{file} is damaged. Remove it if the checkpoints beside it are '
            'those of the config.'
        )
    return record


def check_record(work_dir: str | Path, cfg: Config) -> None:
    """Check that a work directory belongs to a config and to its inputs.

    A directory without a record, for instance one with a downloaded
    checkpoint, passes. Where the precision is the machine's default, now and
    then, it may be another one.

    Args:
        work_dir (str | Path): Directory that may hold checkpoints.
        cfg (Config): Config of a training that would begin now.

    Raises:
        ValueError: if values differ, or an input has been trained again
            since; the message names them and says what to do.
    """
    record = read_record(work_dir)
    if record is None:
        return
    advice = (
        f'Move {work_dir} away to train it again, name another --work-dir or '
        'repeat the former options.'
    )
    known, wanted = _flat(record['config']), _flat(_decisive(cfg))
    if record.get('default_precision') and cfg.get('default_precision'):
        # Two machines may have two defaults.
        for values in (known, wanted):
            for key in PRECISION_KEYS:
                values.pop(key, None)
    differ = [
        f'{key} {known.get(key, "unset")} instead of '
        f'{wanted.get(key, "unset")}'
        for key in sorted({*known, *wanted})
        if known.get(key) != wanted.get(key)
    ]
    if differ:
        more = f' and {len(differ) - 5} more' if len(differ) > 5 else ''
        raise ValueError(
            f'{work_dir} was trained with another config: '
            f'{"; ".join(differ[:5])}{more}. {advice}'
        )
    for key, place in inputs_of(cfg).items():
        before, now = record['inputs'].get(key), _digest(place)
        if before is not None and now is not None and before != now:
            raise ValueError(
                f'{work_dir} started from another checkpoint of {place} '
                f'({key}), which was trained again since. {advice}'
            )


def _digest(place: str) -> str | None:
    """Compute the SHA-256 of a file or of a work directory's checkpoint."""
    try:
        return file_digest(find_checkpoint(place))
    except FileNotFoundError:
        folder = Path(place).parent
        if Path(place).suffix == '.pth' and folder.is_dir():
            return _digest(str(folder))
        return None


def _decisive(cfg: Config) -> dict[str, Any]:
    """Return the values of a config that determine the weights, as JSON."""
    values = {key: cfg[key] for key in _DECIDES if key in cfg}
    return json.loads(json.dumps(values, default=str))


def _flat(node: Any, key: str = '') -> dict[str, str]:
    """Flatten values to dotted keys, without the keys without effect."""
    return dict(_leaves(node, key))


def _leaves(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if key in _WITHOUT_EFFECT:
        return
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        yield key, json.dumps(node)
        return
    for name, value in node.items():
        yield from _leaves(value, f'{key}.{name}' if key else str(name))
