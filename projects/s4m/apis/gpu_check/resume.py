# SPDX-License-Identifier: Apache-2.0
"""A training that is killed and resumed, against one that runs through."""

from __future__ import annotations

import gc
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from s4m.apis.precision import set_precision
from s4m.apis.training import build_runner

from .nano_trainings import make_data, quick_configs, shapes_config
from .report import Report

#: Iterations of a whole run, and of one before it is killed; in nano.
ITERS, STOP = (6, 2), (3, 1)


class _Kill(Hook):
    """Stops a run after its checkpoint, as a lost machine would."""

    priority = 'VERY_LOW'

    def __init__(self, stop: int) -> None:
        self.stop = stop

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any):
        """Stop after some iterations."""
        if runner.iter + 1 == self.stop:
            raise KeyboardInterrupt


def _weights(
    root: Path, folder: Path, deterministic: bool, resume: bool, nano: bool
) -> dict[str, Tensor]:
    """Train S4M's student on Shapes and return its weights on the host."""

    def runner(again: bool) -> Runner:
        cfg = shapes_config('s4m', root, folder, ITERS[nano])
        cfg.default_hooks.checkpoint.update(interval=STOP[nano])
        cfg.randomness = dict(seed=0, deterministic=deterministic)
        cfg.resume = again
        set_precision(cfg)
        return build_runner(cfg)

    if resume:
        first = runner(False)
        first.register_hook(_Kill(STOP[nano]), priority='VERY_LOW')
        try:
            first.train()
        except KeyboardInterrupt:
            del first
        gc.collect()
        torch.manual_seed(99)
    last = runner(resume)
    last.train()
    return {k: v.detach().cpu() for k, v in last.model.state_dict().items()}


def difference(
    a: dict[str, Tensor], b: dict[str, Tensor]
) -> tuple[float, int]:
    """Return the largest difference, and the number of tensors that differ."""
    assert a.keys() == b.keys()
    worst = max(float((a[k].double() - b[k].double()).abs().max()) for k in a)
    return worst, sum(not torch.equal(a[k], b[k]) for k in a)


def run(device: torch.device, nano: bool, report: Report) -> None:
    """Compare a repeated and a resumed run with a first one."""
    with tempfile.TemporaryDirectory() as name, quick_configs():
        folder = Path(name)
        root = make_data(folder / 'shapes')
        for deterministic in (False,) if nano else (False, True):
            label = 'on' if deterministic else 'off'
            try:
                runs = {
                    what: _weights(
                        root,
                        folder / f'{what}_{label}',
                        deterministic,
                        what == 'resumed',
                        nano,
                    )
                    for what in ('first', 'repeated', 'resumed')
                }
                for what in ('repeated', 'resumed'):
                    worst, count = difference(runs['first'], runs[what])
                    report.add(
                        'weights, against a first run',
                        deterministic=label,
                        run=what,
                        identical=count == 0,
                        largest_difference=worst,
                        tensors_that_differ=count,
                        of=len(runs['first']),
                    )
            except Exception:
                report.error(f'deterministic {label}', traceback.format_exc())
            finally:
                torch.use_deterministic_algorithms(False)
