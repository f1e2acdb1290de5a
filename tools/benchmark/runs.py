# SPDX-License-Identifier: Apache-2.0
"""One training and its evaluation, resumable; used by demo and tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

sys.path.append(str(Path(__file__).parents[1]))
from s4m.utils.whole_files import write_json

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """This environment, with one thread for a small model's operations."""
    return {'OMP_NUM_THREADS': '1', **os.environ}


def iterations_done(work_dir: Path) -> int:
    """Last iteration that a run's newest log names."""
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not logs:
        return 0
    lines = [line for line in logs[-1].read_text().splitlines() if line]
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # being written
            continue
        if 'loss' in row:
            return int(row['step'])
    return 0


def loss_curve(work_dir: Path) -> list[tuple[int, dict]]:
    """(iteration, logged values) of all logs of a run."""
    rows = {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            row = json.loads(line)
            if 'loss' in row:
                rows[int(row['step'])] = row
    return sorted(rows.items())


def train_and_test(
    config: str,
    work_dir: Path,
    iters: int,
    options: dict | None = None,
    progress: Callable[[int], None] | None = None,
    both: bool = False,
) -> dict:
    """Train a config and evaluate its last checkpoint, once.

    A run that is finished is not repeated, one that was stopped is resumed.

    Args:
        config (str): Path of the config, from the project's root.
        work_dir (Path): Of this run; holds ``metrics.json`` when done.
        iters (int): Length of the training.
        options (dict, optional): ``--cfg-options``.
        progress (callable, optional): Called with the iterations done.
        both (bool): Test teacher and student of a semi-supervised model.

    Returns:
        dict: ``metrics`` of each network (fractions), ``train_seconds``.

    Raises:
        RuntimeError: with the end of the log, if a step fails.
    """
    target = work_dir / 'metrics.json'
    if target.is_file():
        if progress:
            progress(iters)
        return json.loads(target.read_text())
    work_dir.mkdir(parents=True, exist_ok=True)
    overrides = [f'{k}={v}' for k, v in (options or {}).items()]
    if overrides:
        overrides.insert(0, '--cfg-options')
    checkpoint = work_dir / f'iter_{iters}.pth'
    began = time.time()
    if not checkpoint.is_file():
        _call(
            [
                'tools/train.py',
                config,
                '--work-dir',
                str(work_dir),
                '--resume',
                *overrides,
            ],
            work_dir / 'train.log',
            lambda: progress and progress(iterations_done(work_dir)),
        )
    seconds = time.time() - began
    metrics = work_dir / 'test.json'
    _call(
        [
            'tools/test.py',
            config,
            str(checkpoint),
            '--work-dir',
            str(work_dir),
            '--json',
            str(metrics),
            *overrides,
            *(['--model', 'both'] if both else []),
        ],
        work_dir / 'test.log',
    )
    result = dict(
        metrics=json.loads(metrics.read_text()),
        train_seconds=round(seconds),
    )
    write_json(target, result, indent=2)
    if progress:
        progress(iters)
    return result


def generate_pseudo_labels(config: str, checkpoint: Path, out: Path) -> None:
    """Pseudo-labels of a stage for the next one, once for each checkpoint.

    Args:
        config (str): Of the stage that made ``checkpoint``, from the root.
        checkpoint (Path): The teacher.
        out (Path): The file.

    Raises:
        ValueError: if a file is there that tools/generate_pseudo_labels.py
            did not make, or that was edited since.
    """
    from generate_pseudo_labels import keep_or_set_aside

    # The images and the thresholds of the stage that trains on them.
    base = ROOT / 'configs/_base_/datasets/shapes_pseudo.py'
    wanted = Config.fromfile(str(base)).pseudo_labels
    command = [
        config,
        str(checkpoint),
        '--images',
        wanted.images,
        '--image-root',
        wanted.image_root,
        *wanted.options,
        '--out',
        str(out),
    ]
    if keep_or_set_aside(out, command, ROOT):
        return
    _call(
        ['tools/generate_pseudo_labels.py', *command], out.with_suffix('.log')
    )


def _call(
    command: list[str], log: Path, poll: Callable[[], None] | None = None
) -> None:
    with log.open('a') as f:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment(),
            stdout=f,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                if poll:
                    poll()
                time.sleep(0.5)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        end = ''.join(log.read_text().splitlines(keepends=True)[-15:])
        raise RuntimeError(f'{" ".join(command[:2])} failed; {log}:\n{end}')


def student_ap(result: dict, key: str = 'cityscapes/mAP') -> float:
    """AP x 100 of the evaluated network of a run."""
    metrics = result['metrics']
    return 100 * metrics.get('student', metrics.get('model', {}))[key]


def schedule(config: str, iters: int, semi: bool) -> dict[str, object]:
    """``--cfg-options`` of a Shapes config for another length.

    Burn-in is five eighths of it and a warm-up a tenth, as in the configs of
    800 iterations.

    Args:
        config (str): Path of the config, from the project's root.
        iters (int): Length.
        semi (bool): Whether it burns in.
    """
    options: dict[str, object] = {
        'train_cfg.max_iters': iters,
        # tools/test.py evaluates: not twice.
        'train_cfg.val_begin': iters + 1,
        'default_hooks.checkpoint.interval': max(1, iters // 4),
    }
    if isinstance(Config.fromfile(ROOT / config).param_scheduler, dict):
        options['param_scheduler.end'] = iters
    else:
        warm_up = iters // 10
        options['param_scheduler.0.end'] = warm_up
        options['param_scheduler.1.begin'] = warm_up
        options['param_scheduler.1.end'] = iters
    if semi:
        options['default_hooks.mean_teacher.burn_in'] = iters * 5 // 8
    return options
