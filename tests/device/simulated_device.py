# SPDX-License-Identifier: Apache-2.0
"""The CUDA device of the tests: a simulated one, where there is no other."""

from __future__ import annotations

import ctypes
import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pytest


def _why_not() -> str | None:
    """Say why this machine cannot simulate a device, if it cannot."""
    if 'torch' in sys.modules:  # a process that a test has started
        return 'torch was imported before'
    try:
        ctypes.CDLL('libcuda.so.1')
        return 'there is a CUDA driver, whose devices would be hidden'
    except OSError:
        pass
    if shutil.which('g++') is None:
        return 'g++ is missing'
    torch = find_spec('torch')
    assert torch is not None and torch.origin is not None
    if not list(Path(torch.origin).parent.glob('lib/libtorch_cuda.so')):
        return 'PyTorch is built without CUDA'
    return None


WHY_NOT = _why_not()
if WHY_NOT is None:
    # Before torch; there is no device yet.
    from device import simulator


def enter_device() -> Iterator[simulator.Simulator | None]:
    """Have a device until the generator is resumed.

    Yields:
        Simulator | None: The simulated device, or None where a real one is.
    """
    if WHY_NOT is None:
        context = simulator.Simulator()
    else:
        import torch

        if not torch.cuda.is_available():
            pytest.skip(f'No CUDA device: {WHY_NOT}')
        context = nullcontext()
    with context as sim:
        yield sim
