# SPDX-License-Identifier: Apache-2.0
"""Call the tools in separate processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import resource_dir
from .stages import Stage
from .tool_processes import start_tool

#: Seconds in which a tool that is asked to end may save.
_PATIENCE = 120


class StageError(ValueError):
    """Raised when a tool that a stage called has failed."""


@dataclass(frozen=True)
class Launcher:
    """Calls the tools of a stage.

    Attributes:
        gpus (int): Number of processes of each training and test. Defaults
            to 1.
        amp (str, optional): Precision, ``bf16``, ``fp16`` or ``off``.
            Defaults to None, which takes the machine's default.
        auto_scale_lr (bool): Whether the learning rate is scaled with the
            batch size. Defaults to False.
        quiet (bool): Whether each tool runs in one process, without its
            imports (:mod:`s4m.apis.tool_processes`), and writes its output
            to ``TOOL.log`` in the work directory. Defaults to False.
        progress (Callable, optional): Function that a quiet launcher calls
            with the stage and its finished iterations while it trains.
            Defaults to None.

    Example:
        >>> Launcher(gpus=4, amp='bf16').gpus
        4
    """

    gpus: int = 1
    amp: str | None = None
    auto_scale_lr: bool = False
    quiet: bool = False
    progress: Callable[[Stage, int], None] | None = None

    def __post_init__(self) -> None:
        if self.quiet and self.gpus > 1:
            raise ValueError('a quiet launcher runs one process for a tool')

    def __call__(
        self,
        tool: str,
        stage: Stage,
        arguments: Sequence[Any],
        options: Mapping[str, Any],
    ) -> None:
        """Call ``tools/TOOL.py``.

        Args:
            tool (str): ``train``, ``test`` or ``generate_pseudo_labels``.
            stage (Stage): Stage that needs the tool.
            arguments (Sequence): Arguments of the tool, the positional ones
                first.
            options (Mapping): Values of ``--cfg-options``.

        Raises:
            StageError: if the tool fails.
        """
        tools = resource_dir() / 'tools'
        what = [str(a) for a in arguments]
        if options:
            what += [
                '--cfg-options',
                *(f'{k}={v}' for k, v in options.items()),
            ]
        program = tools / f'{tool}.py'
        stage.makes.mkdir(parents=True, exist_ok=True)
        if not self.quiet:
            command = [sys.executable, str(program), *what]
            if self.gpus > 1:
                positional = 1 if tool == 'train' else 2
                what.insert(positional, str(self.gpus))
                command = ['bash', str(tools / f'dist_{tool}.sh'), *what]
            self.say('+ ' + ' '.join(command))
            status = subprocess.call(command)
            log = 'the output above'
        else:
            file = stage.makes / f'{tool}.log'
            status = self._call_quietly(program, what, file, stage)
            lines = file.read_text().splitlines() or ['']
            log = f'{file}, which ends with: {lines[-1]}'
        if status:
            raise StageError(
                f'tools/{tool}.py of {stage.name} failed with status '
                f'{status}; see {log}'
            )

    def say(self, text: str) -> None:
        """Print a line, unless the launcher is quiet."""
        if not self.quiet:
            print(text, flush=True)

    def _call_quietly(
        self, program: Path, arguments: list[str], log: Path, stage: Stage
    ) -> int:
        """Run a tool and report its iterations until it ends."""
        process = start_tool(program, arguments, log)
        try:
            while process.exitcode is None:
                if self.progress is not None:
                    self.progress(stage, iterations_done(stage.makes))
                process.join(0.5)
        except BaseException:
            # A training saves its iteration first (StopSignalHook).
            process.terminate()
            process.join(_PATIENCE)
            process.kill()
            raise
        return process.exitcode


def iterations_done(work_dir: str | Path) -> int:
    """Read the last iteration in the newest log of a run, 0 without one."""
    logs = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    lines = logs[-1].read_text().splitlines() if logs else []
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # the line is being written
            continue
        if 'loss' in row:
            return int(row['step'])
    return 0
