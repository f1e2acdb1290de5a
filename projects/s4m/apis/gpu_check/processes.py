# SPDX-License-Identifier: Apache-2.0
"""Each part in a process of its own, killed at its limit."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from .parts import PARTS, find_part
from .report import Report, markdown, write

#: Imported once, for all processes.
_IMPORTED_LATE = (
    'sam2.sam2_image_predictor',
    'sam2.modeling.backbones.image_encoder',
    'sam2.modeling.sam2_base',
    'timm',
    'torch.utils.flop_counter',
)
#: Seconds that are kept for killing a part and writing the results.
_MARGIN = 3.0


def run_check(
    out: Path,
    names: Sequence[str] | None = None,
    nano: bool = False,
    seconds: float = 480.0,
) -> list[dict[str, Any]]:
    """Run parts one after the other, and write what they found.

    A part runs in a forked process, since the imports take ten seconds and a
    CUDA error stays in a process. It must not have used CUDA before: set
    ``PYTORCH_NVML_BASED_CUDA_CHECK=1`` before importing torch.

    Args:
        out (Path): Folder of ``gpu_check.json``, ``gpu_check.md`` and
            ``gpu_check.log``.
        names (Sequence[str], optional): Parts to run. Defaults to all.
        nano (bool): Whether to run small networks. Defaults to False.
        seconds (float): Limit of all parts together. Defaults to 480.

    Returns:
        list[dict]: :attr:`Report.data` of each part.
    """
    deadline = time.monotonic() + seconds
    out.mkdir(parents=True, exist_ok=True)
    chosen = [part for part in PARTS if names is None or part.name in names]
    for part in chosen:
        part.load()
    for module in _IMPORTED_LATE:
        importlib.import_module(module)
    init_default_scope('mmdet')
    start = _start_method(out)
    print(f'Parts start by {start}.', flush=True)
    results: list[dict[str, Any]] = []
    for part in chosen:
        left = deadline - time.monotonic() - _MARGIN
        if left < part.least:
            report = Report(part.name)
            report.finish(f'skipped: {left:.0f} s left')
            results.append(report.data)
        else:
            limit = min(part.limit, left)
            results.append(_run_part(start, part.name, nano, out, limit))
        print(markdown(results[-1:]), flush=True)
        write(out / 'gpu_check.json', json.dumps(results, indent=1))
        write(out / 'gpu_check.md', markdown(results))
    return results


def run_here(name: str, nano: bool, report: Report) -> None:
    """Run a part in this process, and record what it raises.

    Args:
        name (str): Name of the part.
        nano (bool): Whether to run small networks.
        report (Report): Takes the results.
    """
    # Registries of MMDetection; parts build their models from configs.
    init_default_scope('mmdet')
    # Each optimiser would list its parameters.
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        find_part(name).load()(torch.device(device), nano, report)
    except Exception:
        report.error(name, traceback.format_exc())
        report.finish('failed')
    else:
        report.finish('done, with errors' if report.data['errors'] else 'done')


def _run_part(
    start: str, name: str, nano: bool, out: Path, limit: float
) -> dict[str, Any]:
    context: Any = multiprocessing.get_context(start)
    process = context.Process(target=_child, args=(name, nano, out))
    process.start()
    process.join(limit)
    status = None
    if process.is_alive():
        status = f'stopped at its limit of {limit:.0f} s'
        # Its loaders too.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join(10)
    elif process.exitcode:
        status = f'ended with code {process.exitcode}'
    file = out / f'{name}.json'
    try:
        data = json.loads(file.read_text())
        file.unlink()
    except (OSError, ValueError):
        data = Report(name).data
        status = status or 'wrote nothing'
    if status is not None:
        data['status'] = status
    return data


def _child(name: str, nano: bool, out: Path) -> None:
    """Run a part; its output goes to the log."""
    os.setsid()
    with (out / 'gpu_check.log').open('a') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        # Before cuBLAS begins, for the deterministic runs.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        run_here(name, nano, Report(name, out))
        log.flush()
        # Neither CUDA's nor the loaders' clean-up may hold the parent.
        os._exit(0)


def _touch_device() -> None:
    if torch.cuda.is_available():
        torch.zeros(1, device='cuda').item()


def _start_method(out: Path) -> str:
    """Fork where a forked process can use CUDA, else begin anew."""
    context: Any = multiprocessing.get_context('fork')
    process = context.Process(target=_touch_device)
    process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
    return 'fork' if process.exitcode == 0 else 'spawn'
