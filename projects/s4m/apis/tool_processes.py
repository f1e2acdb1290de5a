# SPDX-License-Identifier: Apache-2.0
"""Run the tools in processes that have everything imported.

Importing MMDetection takes 10 to 15 seconds of one core, as long as a short
test. Here one process, Python's fork server, imports it once and is forked
for each tool.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

_IMPORTS = [
    's4m',
    's4m.apis.training',
    's4m.apis.testing',
    's4m.apis.pseudo_labels',
    'mmdet.evaluation',
    'mmdet.visualization',
    'sam2.build_sam',
    'yapf.yapflib.yapf_api',
]
_SERVER_ENVIRONMENT = {
    # A small model is faster with one thread for its operations.
    'OMP_NUM_THREADS': '1',
    # A forked process cannot use CUDA if its parent has asked the driver for
    # devices, as MMEngine does when it is imported; NVML answers as well.
    'PYTORCH_NVML_BASED_CUDA_CHECK': '1',
}


def start_tool(
    tool: str | Path, arguments: Sequence[str], log: str | Path
) -> BaseProcess:
    """Start a tool in a process of its own, and return at once.

    Args:
        tool (str | Path): File of the tool.
        arguments (Sequence[str]): Its command-line arguments.
        log (str | Path): File to which its output is appended.

    Returns:
        BaseProcess: the running process; its ``exitcode`` is the tool's exit
        status.

    Example::

        tool = start_tool('tools/train.py', ['supervised_shapes_5p'], 'log')
        tool.join()
    """
    context = multiprocessing.get_context('forkserver')
    # Without effect once the server runs.
    context.set_forkserver_preload(_IMPORTS)
    process = context.Process(
        target=_run_tool, args=(str(tool), list(arguments), str(log))
    )
    with _environment(_SERVER_ENVIRONMENT):
        process.start()
    return process


def _run_tool(tool: str, arguments: list[str], log: str) -> None:
    with open(log, 'a') as f:
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
    sys.argv = [tool, *arguments]
    runpy.run_path(tool, run_name='__main__')


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables that are not set, until the block ends."""
    added = {k: v for k, v in values.items() if k not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)
