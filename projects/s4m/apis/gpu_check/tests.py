# SPDX-License-Identifier: Apache-2.0
"""The tests of the repository that want a device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from .report import Report

#: Of tests/device; the others test the simulator, or the command line.
FILES = (
    'test_operators_on_device.py',
    'test_detectors_on_device.py',
    'test_trainings_on_device.py',
)
SECONDS = 140.0


def run(device: torch.device, nano: bool, report: Report) -> None:
    """Run pytest, and report the last lines."""
    root = Path(__file__).resolve().parents[4]
    folder = root / 'tests/device'
    if not folder.is_dir():
        report.add('pytest', result=f'no folder {folder}')
        return
    command = [sys.executable, '-m', 'pytest', '-q', '-m', 'device',
               '-p', 'no:cacheprovider', '--tb=short']  # fmt: skip
    files = [str(folder / name) for name in FILES]
    if nano:
        command.append('--collect-only')
    else:
        command += ['-n', '4', '--dist', 'loadfile']
    try:
        done = subprocess.run(
            [*command, *files],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        lines = (done.stdout + done.stderr).strip().splitlines()
        code = str(done.returncode)
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b''
        lines = out.decode(errors='replace').splitlines()
        code = f'stopped after {SECONDS:.0f} s'
    report.add('pytest', code=code, result=lines[-1] if lines else '')
    for line in lines[-40:]:
        if line.startswith(('FAILED', 'ERROR', 'E  ')):
            report.add('failures', line=line)
