# SPDX-License-Identifier: Apache-2.0
"""The simulator: what a program does to its device."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections import Counter, defaultdict

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from . import state
from .execution import run
from .installation import installed
from .shim import library

#: Parts of paths that are this project's own code.
OWN = ('/projects/s4m/', '/tools/')
#: Parts of paths whose frames name the place of a synchronisation.
INTERESTING = (
    *OWN,
    '/mmdet/',
    '/mmengine/',
    '/mmcv/',
    '/sam2/',
    '/timm/',
    '/torchvision/',
    '/torch/optim/',
    '/torch/nn/utils/',
    '/torch/amp/',
)


def _place(own: bool) -> str:
    """file:line of the innermost interesting frame."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        parts = OWN if own else INTERESTING
        if any(part in name for part in parts):
            short = name
            for root in ('site-packages/', 'projects/'):
                short = short.split(root)[-1]
            return f'{short}:{frame.f_lineno} {frame.f_code.co_name}'
        frame = frame.f_back
    return '-'


class Simulator(TorchDispatchMode):
    """Everything inside ``with`` sees a CUDA device.

    Args:
        strict (bool): Raise at a mismatch; otherwise write it down among
            ``syncs`` with the kind ``MISMATCH`` and go on. Defaults to True.
        values_up_to (int, optional): Tensors with more elements have a size
            but no values, and results that depend on them are random: for
            measuring memory at any size. Defaults to None, which computes all.
        capability (tuple[int, int]): Compute capability, which has bf16 from
            (8, 0) on. Defaults to (8, 6).

    Attributes:
        syncs: Counter of (phase, kind, place, own place).
        launches: Counter of operators by phase.
        operators: Counter of (phase, operator).
        copied: Bytes by (phase, kind) of copies between host and device.
        peaks: Most bytes alive, by phase.
        live: Bytes alive.
    """

    def __init__(
        self,
        strict: bool = True,
        values_up_to: int | None = None,
        capability: tuple[int, int] = (8, 6),
    ) -> None:
        super().__init__()
        self.strict = strict
        self.values_up_to = values_up_to
        self.capability = capability
        self._installation: contextlib.ExitStack | None = None
        self.current = 'start'
        self.live = 0
        self.clear()

    def clear(self) -> None:
        """Forget what was recorded; memory stays alive."""
        self.syncs: Counter = Counter()
        self.launches: Counter = Counter()
        self.operators: Counter = Counter()
        self.copied: Counter = Counter()
        self.peaks: dict[str, int] = defaultdict(int)
        self.peaks[self.current] = self.live

    @contextlib.contextmanager
    def phase(self, name: str):
        """Count what happens inside under another name."""
        before, self.current = self.current, name
        self.peaks[name] = max(self.peaks[name], self.live)
        try:
            yield self
        finally:
            self.current = before

    def __enter__(self) -> Simulator:
        """Install the device.

        Raises:
            RuntimeError: if there is a simulated device already.
        """
        if state.active is not None:
            raise RuntimeError('A process can simulate one device')
        self._installation = contextlib.ExitStack()
        self._installation.enter_context(installed(library, self.capability))
        state.active = self
        return super().__enter__()

    def __exit__(self, *args) -> None:
        """Remove the device."""
        super().__exit__(*args)
        state.active = None
        assert self._installation is not None
        self._installation.close()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Every operator, also those that make tensors."""
        return run(func, args, kwargs or {})

    def record(self, kind: str, func, times: int = 1, size: int = 0) -> None:
        """Write a synchronisation or a copy down."""
        place = _place(own=False)
        if place == '-' or kind == 'MISMATCH':
            place += f' {func}'
        self.syncs[self.current, kind, place, _place(own=True)] += times
        self.copied[self.current, kind] += size

    def track(self, host: torch.Tensor) -> None:
        """Count a storage until it is gone."""
        storage = host.untyped_storage()
        if storage in _storages:
            return
        # CUDA's allocator hands out blocks of 512 bytes.
        size = -(-storage.nbytes() // 512) * 512
        _storages[storage] = size
        weakref.finalize(storage, self._free, size)
        self.live += size
        self.peaks[self.current] = max(self.peaks[self.current], self.live)

    def _free(self, size: int) -> None:
        self.live -= size

    # ------------------------------------------------------------- reports
    def num_syncs(self, phase: str | None = None) -> int:
        """Synchronisations, in all or of a phase."""
        return sum(
            n
            for (where, kind, *_), n in self.syncs.items()
            if phase in (None, where) and 'non_blocking' not in kind
        )

    def report(self, top: int = 40) -> str:
        """Tables as text."""
        lines = [f'{"phase":24}{"launches":>10}{"syncs":>8}{"peak MiB":>10}']
        for name in self.peaks:
            lines.append(
                f'{name:24}{self.launches[name]:>10}{self.num_syncs(name):>8}'
                f'{self.peaks[name] / 2**20:>10.1f}'
            )
        lines.append('')
        for (phase, kind, place, own), n in self.syncs.most_common(top):
            by = '' if own in (place, '-') else f'  <- {own}'
            lines.append(f'{n:6} {phase:20} {kind:18} {place}{by}')
        return '\n'.join(lines)


class _Storages:
    """Which storages are counted; weak, by identity."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}

    def __contains__(self, storage) -> bool:
        return storage._cdata in self.sizes

    def __setitem__(self, storage, size: int) -> None:
        self.sizes[storage._cdata] = size
        weakref.finalize(storage, self.sizes.pop, storage._cdata, None)


_storages = _Storages()
