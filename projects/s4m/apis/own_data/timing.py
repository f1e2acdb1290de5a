# SPDX-License-Identifier: Apache-2.0
"""Fit the length of a run to the time that a person has."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from s4m.apis.pipeline import Launcher, Stage
from s4m.datasets.coco_io import read_coco

from .decisions import Settings
from .messages import Console
from .run_folder import RunFolder

#: Iterations of a trial; the first ones load and allocate.
_TRIAL, _WARM_UP = 12, 4
#: Share of the time that is kept for what was not measured.
_MARGIN = 0.1
_LEAST = 50


def fit_to_hours(
    run: RunFolder,
    settings: Settings,
    hours: float,
    launcher: Launcher,
    console: Console,
) -> None:
    """Measure a few iterations of each stage and set the iterations.

    Both stages get the same number, as far as the time allows.

    Args:
        run (RunFolder): Folder with the configs of a run.
        settings (Settings): Settings, changed in place.
        hours (float): Time of the whole run.
        launcher (Launcher): It calls the trainings.
        console (Console): It says what was measured.

    Raises:
        ValueError: if the time is not positive, or too short.
    """
    if not hours > 0:
        raise ValueError(f'--hours must be above 0, got {hours}')
    trials = {
        name: _try(run, stage, launcher)
        for name, stage in run.stages().items()
    }
    seconds = {name: trial[0] for name, trial in trials.items()}
    per_iteration = sum(seconds.values())
    # Every validation, and a test at the end.
    other = sum(
        (settings.validations + 1) * trial[1] for trial in trials.values()
    )
    left = 3600 * hours * (1 - _MARGIN) - other
    iters = max(0, int(left / per_iteration))
    shown = ', '.join(f'{k} {v:.2f} s' for k, v in seconds.items())
    console.say(f'measured, for an iteration: {shown}')
    if iters < _LEAST:
        least = (_LEAST * per_iteration + other) / (1 - _MARGIN) / 36
        raise ValueError(
            f'--hours {hours:g} allows {iters} iterations, which teach '
            f'nothing: give at least {math.ceil(least) / 100:g}, or take a '
            'smaller --size, --batch or --model, or fewer --validations'
        )
    ratio = iters / settings.student_iters
    settings.burn_in = max(1, round(settings.burn_in * ratio))
    # A half-life that is longer by the same factor.
    settings.momentum = float(
        f'{1 - (1 - settings.momentum) ** (1 / ratio):.2g}'
    )
    settings.supervised_iters = settings.student_iters = iters
    changed = {
        'iters': f'{iters} + {iters}',
        'burn-in': str(settings.burn_in),
    }
    settings.reasons[:] = [
        replace(d, value=changed[d.setting], why=f'fits {hours:g} hours')
        if d.setting in changed
        else d
        for d in settings.reasons
    ]


def _try(
    run: RunFolder, stage: Stage, launcher: Launcher
) -> tuple[float, float]:
    """Train a few iterations and validate, in a folder that is removed.

    Returns:
        tuple[float, float]: seconds of an iteration and of a validation.
    """
    trial = replace(
        stage, makes=run.path / 'stages' / f'trial_{stage.name}', needs={}
    )
    options: dict[str, Any] = {
        'train_cfg.max_iters': _TRIAL,
        'train_cfg.val_interval': _TRIAL,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': 10 * _TRIAL,
        'log_processor.window_size': 1,
    }
    if stage.needs:
        # Nothing is trained yet; a random teacher takes the same time.
        options['model.teacher_checkpoint'] = 'None'
    cfg = stage.load()
    try:
        launcher(
            'train',
            trial,
            [stage.config, '--work-dir', trial.makes],
            options,
        )
        iteration, image = _times(trial.makes)
    finally:
        shutil.rmtree(trial.makes, ignore_errors=True)
    if cfg.get('val_dataloader') is None:
        return iteration, 0.0
    images = len(read_coco(cfg.val_dataloader.dataset.ann_file)['images'])
    networks = 2 if stage.needs else 1
    return iteration, image * images * networks


def _times(work_dir: Path) -> tuple[float, float]:
    """Read the median time of an iteration, and that of a validated image."""
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    train = [row['time'] for row in rows if 'loss' in row]
    val = [row['time'] for row in rows if 'loss' not in row and 'time' in row]
    return statistics.median(train[_WARM_UP:]), max(val, default=0.0)
