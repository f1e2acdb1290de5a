# SPDX-License-Identifier: Apache-2.0
"""The card, the software and what the card can do at most."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from typing import Any

import numpy as np
import torch

from s4m.apis.precision import default_precision

from .measuring import is_real, milliseconds
from .report import Report

_PACKAGES = (
    'onedl-mmcv',
    'onedl-mmengine',
    'onedl-mmdetection',
    'sam2',
    'timm',
    'triton',
)


def matmul_tflops(
    device: torch.device, dtype: torch.dtype, side: int = 8192
) -> float:
    """Measure TFLOP/s of a square matrix product."""
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    ms = milliseconds(lambda: a @ b, device, rounds=10)
    return 2 * side**3 / ms / 1e9


def copy_tb_s(device: torch.device, gib: float = 4.0) -> float:
    """Measure TB/s of a copy on the device, read and written bytes."""
    source = torch.zeros(int(gib * 2**28), device=device)
    target = torch.empty_like(source)
    ms = milliseconds(lambda: target.copy_(source), device)
    return 2 * source.numel() * 4 / ms / 1e9


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return 'unknown'


def run(device: torch.device, nano: bool, report: Report) -> None:
    """Name the card and the software, and measure the ceilings."""
    host: dict[str, Any] = dict(
        python=platform.python_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        numpy=np.__version__,
        cpus=os.cpu_count(),
        threads=torch.get_num_threads(),
    )
    host.update({p: _version(p) for p in _PACKAGES})
    report.add('software', **host)
    if device.type != 'cuda':
        report.add('card', name='none')
        return
    properties = torch.cuda.get_device_properties(0)
    card: dict[str, Any] = dict(
        name=properties.name,
        memory_gib=properties.total_memory / 2**30,
        multiprocessors=properties.multi_processor_count,
        capability=torch.cuda.get_device_capability(0),
        bf16=torch.cuda.is_bf16_supported(),
        default_precision=default_precision(),
    )
    if is_real(device):
        query = 'driver_version,clocks.max.sm,power.limit'
        command = [
            'nvidia-smi',
            f'--query-gpu={query}',
            '--format=csv,noheader',
        ]
        try:
            made = subprocess.run(
                command, capture_output=True, text=True, timeout=10
            )
            card['driver_clock_power'] = made.stdout.strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            card['driver_clock_power'] = str(error)
    report.add('card', **card)
    side = 64 if nano else 8192
    names = dict(bf16=torch.bfloat16, fp16=torch.float16, fp32=torch.float32)
    for name, dtype in names.items():
        torch.backends.cuda.matmul.allow_tf32 = True
        tflops = matmul_tflops(device, dtype, side)
        label = 'TF32' if name == 'fp32' else name
        report.add('ceilings', what=f'{side}^3 product, {label}', value=tflops,
                   unit='TFLOP/s')  # fmt: skip
    report.add('ceilings', what='copy on the device',
               value=copy_tb_s(device, 0.001 if nano else 4.0),
               unit='TB/s')  # fmt: skip
