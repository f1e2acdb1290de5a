# SPDX-License-Identifier: Apache-2.0
"""Time, memory and phases of training steps."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

#: Prefix of the phases in a profile.
PREFIX = 'phase: '
OTHER = 'other'


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its work."""
    if device.type == 'cuda':
        torch.cuda.synchronize()


def is_real(device: torch.device) -> bool:
    """Check whether a device is a GPU, and not the CPU or a simulated one."""
    return (
        device.type == 'cuda' and type(torch.empty(0, device=device)) is Tensor
    )


def peak_gib(device: torch.device) -> float | None:
    """Return the peak of allocated device memory in GiB, None on a CPU."""
    if device.type != 'cuda':
        return None
    return torch.cuda.max_memory_allocated() / 2**30


def reset_peak(device: torch.device) -> None:
    """Begin a new peak."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()


def milliseconds(
    function: Callable[[], object],
    device: torch.device,
    rounds: int = 10,
    warmup: int = 3,
) -> float:
    """Measure the mean time of a call, device work included."""
    for _ in range(warmup):
        function()
    synchronize(device)
    began = time.perf_counter()
    for _ in range(rounds):
        function()
    synchronize(device)
    return 1000 * (time.perf_counter() - began) / rounds


class Phases:
    """Phases of a step, whose times exclude those inside them.

    Args:
        device (torch.device): Device to wait for.

    Attributes:
        mode (str): ``off``; ``time``, which waits for the device at each
            border; ``mark``, which names phases in a profile.
        seconds (dict[str, float]): Time of each phase.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.mode = 'off'
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack = [OTHER]
        self._last = 0.0

    @property
    def current(self) -> str:
        """Name of the innermost phase."""
        return self._stack[-1]

    def start(self) -> None:
        """Begin to time."""
        self.seconds.clear()
        synchronize(self.device)
        self._last = time.perf_counter()

    def tick(self) -> None:
        """Give the time since the last border to the innermost phase."""
        synchronize(self.device)
        now = time.perf_counter()
        self.seconds[self.current] += now - self._last
        self._last = now

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name what runs inside the block."""
        if self.mode == 'time':
            self.tick()
        self._stack.append(name)
        try:
            if self.mode == 'mark':
                with record_function(PREFIX + name):
                    yield
            else:
                yield
        finally:
            if self.mode == 'time':
                self.tick()
            self._stack.pop()

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        """Count what happens inside ``owner.name`` as ``phase``."""
        function = getattr(owner, name)

        def wrapped(*args, **kwargs):
            if self.mode == 'off':
                return function(*args, **kwargs)
            with self.phase(phase):
                return function(*args, **kwargs)

        # nn.Module.__setattr__ would register a submodule.
        object.__setattr__(owner, name, wrapped)


def measure_step(
    step: Callable[[], object],
    phases: Phases,
    warmup: int = 2,
    rounds: int = 5,
    phase_rounds: int = 2,
    seconds: float = 30.0,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Measure a training step.

    Args:
        step (Callable): The step.
        phases (Phases): Phases, which the step is wrapped in.
        warmup (int): Steps before. Defaults to 2.
        rounds (int): Steps that are timed together. Defaults to 5.
        phase_rounds (int): Steps whose phases are timed, which waits for the
            device at each border. Defaults to 2.
        seconds (float): Limit after which no further step is timed. Defaults
            to 30.

    Returns:
        tuple[dict, dict]: ``ms`` of a step, ``peak_gib`` and ``rounds``; ms
        of each phase.
    """
    device = phases.device
    stop = time.perf_counter() + seconds
    phases.mode = 'off'
    for _ in range(warmup):
        step()
    synchronize(device)
    reset_peak(device)
    began = time.perf_counter()
    done = 0
    while done < rounds and (done < 1 or time.perf_counter() < stop):
        step()
        done += 1
    synchronize(device)
    ms = 1000 * (time.perf_counter() - began) / done
    peak = peak_gib(device)
    times: dict[str, list[float]] = defaultdict(list)
    phases.mode = 'time'
    try:
        for _ in range(phase_rounds):
            phases.start()
            step()
            phases.tick()
            for name, value in phases.seconds.items():
                times[name].append(1000 * value)
    finally:
        phases.mode = 'off'
    by_phase = {name: statistics.median(t) for name, t in times.items()}
    return dict(ms=ms, peak_gib=peak, rounds=done), by_phase
