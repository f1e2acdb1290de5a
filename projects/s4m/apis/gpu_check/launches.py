# SPDX-License-Identifier: Apache-2.0
"""Kernel launches and waits of the host in a step of S4M's student."""

from __future__ import annotations

import contextlib
import sys
import traceback
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from .measuring import OTHER, PREFIX, Phases, synchronize
from .networks import TrainingStep
from .report import Report
from .student import make_step, set_batch

#: Packages whose lines are named, the innermost first.
_OURS = ('s4m', 'mmdet', 'mmengine', 'mmcv', 'sam2', 'timm')
_THIS = str(Path(__file__).parent)
_LAUNCHES = ('cudaLaunchKernel', 'cudaLaunchKernelExC', 'cuLaunchKernel',
             'cuLaunchKernelEx')  # fmt: skip
_COPIES = ('cudaMemcpyAsync', 'cudaMemcpy', 'cudaMemsetAsync')
_WAITS = ('cudaStreamSynchronize', 'cudaDeviceSynchronize',
          'cudaEventSynchronize')  # fmt: skip


def _line() -> str:
    """Name the innermost line of a package of `_OURS` that is running."""
    frame: Any = sys._getframe(1)
    innermost = ''
    while frame is not None:
        file = frame.f_code.co_filename
        parts = Path(file).parts
        name = f'{"/".join(parts[-3:])}:{frame.f_lineno}'
        if not file.startswith(_THIS) and parts[-1:] != ('warnings.py',):
            innermost = innermost or name
            for package in _OURS:
                if package in parts[:-1]:
                    at = len(parts) - 1 - parts[::-1].index(package)
                    path = '/'.join(parts[at:])
                    function = (
                        f'{path}:{frame.f_lineno} {frame.f_code.co_name}'
                    )
                    if name == innermost:
                        return function
                    return f'{function} (in {innermost})'
        frame = frame.f_back
    return innermost


@contextlib.contextmanager
def count_waits(phases: Phases) -> Iterator[Counter[tuple[str, str]]]:
    """Count where the host waits for the device.

    Args:
        phases (Phases): Phases, in a mode that follows them.

    Yields:
        Counter: Number of waits by phase and line. Those of a backward pass
        are told when it ends.
    """
    found: Counter[tuple[str, str]] = Counter()

    def show(message: Any, category: Any, *args: Any, **kwargs: Any) -> None:
        if 'synchronizing CUDA' in str(message):
            found[phases.current, _line()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter('always')
        warnings.showwarning = show
        torch.cuda.set_sync_debug_mode('warn')
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode('default')


def profile_step(
    step: TrainingStep,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Profile one step.

    Returns:
        tuple: ``launches``, ``copies``, ``waits`` of the whole step, with the
        time that the device was busy, and of each phase; and the time of the
        30 kernels that took longest.
    """
    activities = [ProfilerActivity.CPU]
    if step.device.type == 'cuda':
        activities.append(ProfilerActivity.CUDA)
    step.phases.mode = 'mark'
    try:
        with profile(activities=activities, acc_events=True) as profiler:
            step()
            synchronize(step.device)
    finally:
        step.phases.mode = 'off'
    results: Any = profiler.profiler
    events = results.kineto_results.events()
    borders: list[tuple[int, int, str]] = []
    calls: list[tuple[int, str]] = []
    busy = kernels = 0
    longest: Counter[str] = Counter()
    for event in events:
        name = event.name()
        on_device = event.device_type() == torch.autograd.DeviceType.CUDA
        if name.startswith(PREFIX):
            if not on_device:
                start = event.start_ns()
                phase = name.removeprefix(PREFIX)
                borders.append((start, start + event.duration_ns(), phase))
        elif on_device:
            # Ranges of PyTorch's own are no work.
            if not name.startswith(('Optimizer.', 'ProfilerStep')):
                busy += event.duration_ns()
                kernels += not name.startswith('Mem')
                longest[name] += event.duration_ns()
        elif name in _LAUNCHES:
            calls.append((event.start_ns(), 'launches'))
        elif name in _COPIES:
            calls.append((event.start_ns(), 'copies'))
        elif name in _WAITS:
            calls.append((event.start_ns(), 'waits'))
    counts: dict[str, Counter[str]] = {}
    borders.sort()
    starts = [start for start, _, _ in borders]
    for at, kind in calls:
        phase = OTHER
        # The innermost began last of those that have not ended.
        for _, end, name in reversed(borders[: bisect_right(starts, at)]):
            if at <= end:
                phase = name
                break
        counts.setdefault(phase, Counter())[kind] += 1
    order = sorted(counts, key=lambda name: -counts[name]['launches'])
    rows = [dict(phase=name, **counts[name]) for name in order]
    total = Counter(kind for _, kind in calls)
    everything = dict(
        phase='all', **total, kernels=kernels, busy_ms=busy / 1e6
    )
    return [everything, *rows], [
        dict(kernel=name[:100], ms=duration / 1e6)
        for name, duration in longest.most_common(30)
    ]


def count_step(step: TrainingStep, label: str, report: Report) -> None:
    """Report the waits and the launches of one step."""
    try:
        step.phases.mode = 'follow'
        with count_waits(step.phases) as found:
            step()
        by_phase: Counter[str] = Counter()
        for (phase, _), count in found.items():
            by_phase[phase] += count
        report.add('waits', step=label, total=sum(by_phase.values()),
                   **dict(by_phase.most_common()))  # fmt: skip
        for (phase, line), count in found.most_common(60):
            report.add(f'lines that wait, {label}', count=count, phase=phase,
                       line=line)  # fmt: skip
    except Exception:
        report.error(f'waits, {label}', traceback.format_exc())
    finally:
        step.phases.mode = 'off'
    try:
        rows, longest = profile_step(step)
        for row in rows:
            report.add(f'launches, {label}', **row)
        for row in longest:
            report.add(f'longest kernels, {label}', **row)
    except Exception:
        report.error(f'launches, {label}', traceback.format_exc())


def run(device: torch.device, nano: bool, report: Report) -> None:
    """Count at 2 + 2 and at 4 + 4 images in bf16."""
    step = make_step(device, nano)
    step.use('bf16')
    for counts in ((2, 2),) if nano else ((2, 2), (4, 4)):
        set_batch(step, counts, nano)
        for _ in range(1 if nano else 2):
            step()
        synchronize(device)
        if device.type == 'cuda':
            count_step(step, f'{counts[0]} + {counts[1]} images', report)
