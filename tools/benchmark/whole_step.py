# SPDX-License-Identifier: Apache-2.0
"""Measure the phases of a training step."""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from s4m.engine.hooks import BurnInMeanTeacherHook
from s4m.utils.timing import now, peak_memory_mib, resident_mib


class PhaseTimer(Hook):
    """Times the phases of each iteration by wrapping their functions.

    Args:
        warmup (int): Number of iterations that are not counted.
    """

    priority = 'VERY_HIGH'

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.times: dict[str, list[float]] = defaultdict(list)
        self.current: dict[str, float] = defaultdict(float)

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        """Count the time inside ``owner.name`` as ``phase``."""
        function = getattr(owner, name)

        def timed(*args, **kwargs):
            began = now()
            try:
                return function(*args, **kwargs)
            finally:
                self.current[phase] += now() - began

        # nn.Module.__setattr__ would register a submodule.
        object.__setattr__(owner, name, timed)

    def before_train_epoch(self, runner: Runner) -> None:
        """Wrap the functions, which all exist after the hooks have run."""
        model = runner.model
        wrap = self.wrap
        if hasattr(model, 'student'):
            wrap(model, 'get_pseudo_instances', 'teacher')
            wrap(model.student, 'loss', 'student forward')
            for name in ('copy_paste', 'strong_augment'):
                part = getattr(model, name)
                if part is not None:
                    wrap(part, 'forward', name.replace('_', ' '))
            owner = model.refiner
        else:
            wrap(model, 'loss', 'forward')
            owner = model
        segmenter = getattr(owner, 'segmenter', None)
        if segmenter is not None:
            wrap(segmenter, 'encode', 'SAM encode')
            wrap(segmenter, 'decode', 'SAM decode')
            wrap(segmenter, 'similarity', 'SAM decode')
        wrap(runner.optim_wrapper, 'backward', 'backward')
        wrap(runner.optim_wrapper, 'step', 'optimiser')
        for hook in runner.hooks:
            if isinstance(hook, BurnInMeanTeacherHook):
                wrap(hook, 'before_train_iter', 'EMA')
        self.end = now()

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Begin to time an iteration, whose batch is loaded."""
        self.begin = now()
        self.current.clear()
        self.current['data wait'] = self.begin - self.end

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Store the times of this iteration."""
        self.end = now()
        wait = self.current['data wait']
        self.current['whole step'] = self.end - self.begin + wait
        if batch_idx >= self.warmup:
            for phase, seconds in self.current.items():
                self.times[phase].append(1000 * seconds)


class MemoryWatch(Hook):
    """Stores the resident memory of every 50th iteration."""

    def __init__(self) -> None:
        self.resident: list[float] = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Measure the memory."""
        if self.every_n_train_iters(runner, 50):
            self.resident.append(round(resident_mib(), 1))


def benchmark(cfg: Config, iters: int, warmup: int = 3) -> dict[str, Any]:
    """Train for some iterations and time the phases.

    Args:
        cfg (Config): Config of a training.
        iters (int): Number of iterations that are timed.
        warmup (int): Number of iterations before. Defaults to 3.

    Returns:
        dict: ``phases`` (median ms and share of the step in percent),
        ``peak_mib`` and ``resident_mib`` after every 50 iterations.
    """
    timer = PhaseTimer(warmup)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.train_cfg.update(max_iters=iters + warmup)
        cfg.train_cfg.val_begin = iters + warmup + 1
        cfg.default_hooks.checkpoint.interval = -1
        cfg.default_hooks.checkpoint.save_last = False
        cfg.log_level = 'WARNING'
        if 'pseudo_labeler' in cfg.model:
            # Without burn-in EMA runs and no teacher is needed. A random
            # teacher has low scores, so every query with a class counts.
            cfg.default_hooks.mean_teacher.burn_in = 0
            cfg.model.pseudo_labeler.cls_thr = 0.0
        runner = Runner.from_cfg(cfg)
        runner.register_hook(timer, priority='VERY_HIGH')
        memory = MemoryWatch()
        runner.register_hook(memory, priority='VERY_LOW')
        runner.train()
    whole = statistics.median(timer.times.pop('whole step'))
    phases = {
        name: dict(
            ms=round(statistics.median(values), 1),
            share=round(100 * statistics.median(values) / whole, 1),
        )
        for name, values in timer.times.items()
    }
    known = sum(p['ms'] for p in phases.values())
    phases['other'] = dict(
        ms=round(whole - known, 1), share=round(100 - 100 * known / whole, 1)
    )
    phases['whole step'] = dict(ms=round(whole, 1), share=100.0)
    return dict(
        phases=phases,
        peak_mib=round(peak_memory_mib()),
        resident_mib=memory.resident,
    )


def print_phases(result: dict[str, Any]) -> None:
    """Print the table of :func:`benchmark`."""
    print('| phase | median ms | share % |\n|---|---|---|')
    for name, row in result['phases'].items():
        print(f'| {name} | {row["ms"]} | {row["share"]} |')
    print(f'peak memory {result["peak_mib"]} MiB')
    if result['resident_mib']:
        print(f'resident MiB every 50 iterations: {result["resident_mib"]}')
