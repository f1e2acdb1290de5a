# SPDX-License-Identifier: Apache-2.0
"""The loop that trains the small networks which this project ships."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from s4m.utils.checkpoints import read_checkpoint
from s4m.utils.whole_files import write_whole


def train_steps(
    work_dir: Path,
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    step_loss: Callable[[int], Tensor],
    evaluate: Callable[[], dict[str, Any]],
    *,
    steps: int,
    max_norm: float,
    save_interval: int = 1000,
    quiet: bool = False,
) -> None:
    """Train, log every 100 steps, evaluate and save at an interval.

    A stopped training resumes from its last save. If ``step_loss`` depends on
    the number of the step alone, the result equals that of an uninterrupted
    training.

    Args:
        work_dir (Path): Folder of ``last.pt`` and ``train_log.jsonl``; it is
            made.
        model (nn.Module): Model that trains.
        optimizer (Optimizer): Optimizer of its parameters.
        scheduler (LRScheduler): Schedule, which steps with the optimizer.
        step_loss (Callable): Computes the loss of a step from its number.
        evaluate (Callable): Returns figures for the log; the model is in
            eval mode meanwhile.
        steps (int): Number of steps.
        max_norm (float): Norm at which gradients are clipped.
        save_interval (int): Number of steps between saves. Defaults to 1000.
        quiet (bool): Whether to show no progress bar. Defaults to False.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    last, log = work_dir / 'last.pt', work_dir / 'train_log.jsonl'
    parts: dict[str, Any] = dict(
        model=model, optimizer=optimizer, scheduler=scheduler
    )
    start, before = 0, 0.0
    if last.is_file():
        state = read_checkpoint(last)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        start, before = state['step'], state.get('minutes', 0.0)
        print(f'resumed at step {start}')
        # Steps after the save run again.
        rows = log.read_text().splitlines() if log.is_file() else []
        with write_whole(log) as partial, partial.open('w') as f:
            f.writelines(
                f'{s}\n' for s in rows if json.loads(s)['step'] <= start
            )
    model.train()
    began, window = time.time(), []
    for step in track(range(start, steps), 'training', disable=quiet):
        loss = step_loss(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        scheduler.step()
        window.append(loss.item())
        done = step + 1
        if done % 100 and done % save_interval and done != steps:
            continue
        row: dict[str, Any] = dict(
            step=done,
            loss=round(float(np.mean(window)), 4),
            lr=round(float(scheduler.get_last_lr()[0]), 7),
            minutes=round(before + (time.time() - began) / 60, 2),
        )
        window = []
        if done % save_interval == 0 or done == steps:
            model.eval()
            row.update(evaluate())
            model.train()
            state = {name: part.state_dict() for name, part in parts.items()}
            with write_whole(last) as partial:
                progress = dict(step=done, minutes=row['minutes'])
                torch.save(state | progress, partial)
        with log.open('a') as f:
            f.write(json.dumps(row) + '\n')
        print(row, flush=True)
