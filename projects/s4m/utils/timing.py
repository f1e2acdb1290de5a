# SPDX-License-Identifier: Apache-2.0
"""Measure time and memory of calls."""

from __future__ import annotations

import ctypes
import gc
import itertools
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile


def now() -> float:
    """Return the time in seconds after the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory_mib() -> float:
    """Return the peak memory in MiB of the GPU, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def resident_mib() -> float:
    """Return the resident memory in MiB without freed pages (Linux only)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def added_memory_mib(function: Callable[[], object]) -> float:
    """Measure the memory that a call adds at its peak, on GPU or host.

    The bytes of PyTorch's allocator are counted, since the resident memory of
    a process depends on the pages that malloc retains from earlier calls.

    Args:
        function (Callable): Function to call.

    Returns:
        float: Memory in MiB.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profiler:
        function()
    events = profiler.profiler.kineto_results.events()
    changes = [
        (e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]'
    ]
    changes.sort(key=lambda change: change[0])
    sizes = itertools.accumulate(num_bytes for _, num_bytes in changes)
    return max(sizes, default=0) / 2**20


def measure(
    functions: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, dict[str, float]]:
    """Measure the median time and the added memory of each function.

    The functions take turns, so that noise affects all of them alike. The
    first turn warms up and measures the memory.

    Args:
        functions (Mapping[str, Callable]): Functions by name.
        repeats (int): Number of turns that are timed.

    Returns:
        dict[str, dict[str, float]]: ``ms`` and ``peak_mib`` by name.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    memory = {n: round(added_memory_mib(f)) for n, f in functions.items()}
    for _ in range(repeats):
        for name, function in functions.items():
            began = now()
            function()
            times[name].append(1000 * (now() - began))
    return {
        n: dict(ms=round(statistics.median(t), 1), peak_mib=memory[n])
        for n, t in times.items()
    }
