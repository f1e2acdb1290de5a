# SPDX-License-Identifier: Apache-2.0
"""Run chains of trainings, derived from the config of the last one.

Example::

    stages = stages_of('s4m_cityscapes_10p')
    metrics = run_stages(stages, Launcher(gpus=4, amp='bf16'))
    metrics['s4m_cityscapes_10p']['student']['cityscapes/mAP']
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from s4m.utils.checkpoints import find_checkpoint

from .launcher import Launcher, StageError
from .pseudo_label_file import keep_or_set_aside
from .pseudo_labels import PseudoLabelGenerator
from .records import STOPPED_EARLY, check_record, read_record
from .stages import Stage, stages_of
from .testing import Metrics, with_all_metrics
from .training import set_precision_and_rate

__all__ = [
    'Launcher',
    'Stage',
    'StageError',
    'format_table',
    'is_trained',
    'run_stage',
    'run_stages',
    'stages_of',
]


def run_stages(
    stages: Sequence[Stage], launcher: Launcher | None = None
) -> dict[str, dict[str, Metrics]]:
    """Train and test stages one after the other.

    Args:
        stages (Sequence[Stage]): Stages in the order in which they train.
        launcher (Launcher, optional): It calls the tools. Defaults to None,
            which uses one process.

    Returns:
        dict: metrics of each network, by the name of the stage.

    Raises:
        StageError: if a tool fails.
        ValueError: if a work directory belongs to another config, or to a
            teacher that has been trained again since.
    """
    return {s.name: run_stage(s, launcher)['metrics'] for s in stages}


def run_stage(
    stage: Stage, launcher: Launcher | None = None, *, test: bool = True
) -> dict[str, Any]:
    """Train and test one stage, unless it is finished.

    Args:
        stage (Stage): Stage to train and test.
        launcher (Launcher, optional): It calls the tools. Defaults to None,
            which uses one process.
        test (bool): Whether the trained model is tested. Defaults to True.

    Returns:
        dict: ``metrics`` of each network, as fractions (none without a
        test), and ``train_seconds``.
    """
    launcher = launcher or Launcher()
    if not is_trained(stage, launcher):
        _train(stage, launcher)
    metrics = _test(stage, launcher) if test else {}
    record = read_record(stage.makes) or {}
    return dict(metrics=metrics, train_seconds=record.get('seconds', 0))


def is_trained(stage: Stage, launcher: Launcher | None = None) -> bool:
    """Check whether a stage has its last checkpoint or was stopped early.

    A checkpoint counts if ``last_checkpoint``, which MMEngine writes after
    it, names it; a training that was stopped while it saved is unfinished. In
    a folder that was copied without ``last_checkpoint`` a checkpoint counts
    unless it is older than the training in the record.

    Args:
        stage (Stage): Stage that may have been trained.
        launcher (Launcher, optional): Its precision belongs to the config.
            Defaults to None, which means the machine's default.

    Raises:
        ValueError: if the work directory belongs to another config, or to a
            teacher that has been trained again since.
    """
    launcher = launcher or Launcher()
    cfg = stage.load()
    set_precision_and_rate(cfg, launcher.amp, launcher.auto_scale_lr)
    check_record(stage.makes, cfg)
    loop = cfg.train_cfg
    last = f'iter_{loop.get("max_iters")}.pth'
    if 'max_epochs' in loop:
        last = f'epoch_{loop.max_epochs}.pth'
    pointer = stage.makes / 'last_checkpoint'
    if pointer.is_file():
        is_whole = Path(pointer.read_text().strip()).name == last
    else:
        record = read_record(stage.makes) or {}
        is_whole = last not in record.get('former_checkpoints', ())
    if (stage.makes / last).is_file() and is_whole:
        launcher.say(f'{stage.name}: trained ({stage.makes / last})')
        return True
    stopped = stage.makes / STOPPED_EARLY
    if stopped.is_file():
        launcher.say(
            f'{stage.name}: trained until early stopping ({stopped}); '
            'tools/train.py --resume would go on'
        )
        return True
    return False


def _train(stage: Stage, launcher: Launcher) -> None:
    """Train a stage from its beginning or its latest checkpoint."""
    cfg = stage.load()
    options = dict(stage.options)
    if 'pseudo_labels.teacher' in stage.needs:
        _make_pseudo_labels(stage, cfg, launcher)
    if 'load_from' in stage.needs and not Path(cfg.load_from).is_file():
        # The previous stage was trained for another number of iterations.
        before = stage.needs['load_from'].makes
        options['load_from'] = find_checkpoint(before)
    arguments = [stage.config, '--resume', '--work-dir', stage.makes]
    if launcher.amp is not None:
        arguments += ['--amp', launcher.amp]
    if launcher.auto_scale_lr:
        arguments.append('--auto-scale-lr')
    launcher('train', stage, arguments, options)


def _make_pseudo_labels(stage: Stage, cfg: Config, launcher: Launcher) -> None:
    """Make the pseudo-labels that a stage trains on.

    A file of the same teacher and the same options is used unchanged.
    """
    target = Path(cfg.train_dataloader.dataset.unlabeled.ann_file)
    wanted, teacher = cfg.pseudo_labels, stage.needs['pseudo_labels.teacher']
    checkpoint = find_checkpoint(teacher.makes)
    values = dict(
        images=wanted.images, image_root=wanted.image_root, **wanted.options
    )
    # Options of training do not change what a teacher predicts.
    options = {
        key: value
        for key, value in teacher.options.items()
        if key.split('.')[0] in ('model', 'test_dataloader')
    }
    generator = PseudoLabelGenerator(
        teacher.config, checkpoint, cfg_options=options, **values
    )
    if keep_or_set_aside(target, generator.settings):
        launcher.say(f'pseudo-labels: made ({target})')
        return
    arguments = [teacher.config, checkpoint, '--out', target]
    arguments += _flags(values)
    launcher('generate_pseudo_labels', stage, arguments, options)


def _flags(values: Mapping[str, Any]) -> list[Any]:
    """Turn keyword arguments into the options of a tool."""
    flags: list[Any] = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        flags.append('--' + name.replace('_', '-'))
        if isinstance(value, Mapping):
            flags += [f'{key}={item}' for key, item in value.items()]
        elif isinstance(value, list | tuple):
            flags += value
        elif value is not True:
            flags.append(value)
    return flags


def _test(stage: Stage, launcher: Launcher) -> dict[str, Metrics]:
    """Test the best checkpoint, else the last, and cache its metrics."""
    checkpoint = find_checkpoint(stage.makes)
    target = stage.makes / f'test_{checkpoint.stem}{_of_test(stage)}.json'
    known = _read_metrics(target)
    if known is None or target.stat().st_mtime < checkpoint.stat().st_mtime:
        arguments = [stage.config, checkpoint, '--json', target]
        arguments += ['--work-dir', stage.makes]
        if stage.load().model.type == 'SemiInstanceSegmentor':
            arguments += ['--model', 'both']
        launcher('test', stage, arguments, stage.options)
        known = json.loads(target.read_text())
    return known


def _read_metrics(path: Path) -> dict[str, Metrics] | None:
    """Read the metrics of a test, or None where there are no whole ones."""
    try:
        metrics = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return metrics if isinstance(metrics, dict) and metrics else None


def _of_test(stage: Stage) -> str:
    """Mark the metrics of a test whose settings are not the config's."""
    settings = {
        key: str(value)
        for key, value in sorted(stage.options.items())
        if key.startswith('test_') or 'test_cfg' in key
    }
    if not settings:
        return ''
    text = json.dumps(settings).encode()
    return '_' + hashlib.sha256(text).hexdigest()[:8]


def format_table(results: dict[str, dict[str, Metrics]]) -> str:
    """Format metrics x 100 with a row for each network of each stage.

    Args:
        results (dict): Result of :func:`run_stages`. A metric that a network
            lacks, since it predicts nothing, is shown as 0.

    Example:
        >>> metrics = {'cityscapes/mAP': 0.25}
        >>> print(format_table({'s4m': {'student': metrics}}))
        x 100                cityscapes/mAP
        s4m (student)                 25.00
    """
    rows = with_all_metrics(
        {
            f'{stage} ({network})' if network != 'model' else stage: metrics
            for stage, networks in results.items()
            for network, metrics in networks.items()
        }
    )
    ends = ('mAP', '@50', 'mAP_50')
    names = [k for k in next(iter(rows.values())) if k.endswith(ends)]
    width = max(map(len, rows)) + 2
    lines = [f'{"x 100":{width}}' + ''.join(f'{n:>20}' for n in names)]
    for row, metrics in rows.items():
        cells = (f'{100 * metrics[n]:>20.2f}' for n in names)
        lines.append(f'{row:{width}}' + ''.join(cells))
    return '\n'.join(lines)
