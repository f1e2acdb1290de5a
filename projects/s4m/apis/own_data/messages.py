# SPDX-License-Identifier: Apache-2.0
"""Print lines, tables and progress, and keep them in a log."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

import rich.console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table


def progress_columns(width: int) -> tuple[ProgressColumn, ...]:
    """Return name, bar, steps, time and time left of a progress bar.

    Args:
        width (int): Least width of the name.
    """
    return (
        TextColumn(f'{{task.description:{width}}}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


class Console:
    """Prints to the terminal and appends the same to a file.

    Args:
        log (Path): File of the lines, each call after a line with the date.

    Example::

        with Console(Path('runs/apples/log')) as console:
            console.say('15 images')
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._terminal = rich.console.Console(soft_wrap=True)
        self._file: IO[str] | None = None

    def __enter__(self) -> Console:
        self._file = self._log.open('a', encoding='utf-8')
        now = datetime.datetime.now().isoformat(' ', 'seconds')
        self._file.write(f'---- {now}\n')
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._file is not None
        if error is not None:
            self._file.write(f'{type(error).__name__}: {error}\n')
        self._file.close()

    def say(self, text: str) -> None:
        """Print a line.

        Args:
            text (str): The line.
        """
        self._terminal.print(text, markup=False, highlight=False)
        self._write(text)

    def table(
        self, head: Sequence[str], rows: Sequence[Sequence[str]]
    ) -> None:
        """Print a table.

        Args:
            head (Sequence[str]): Names of the columns.
            rows (Sequence): Cells of each row.
        """
        table = Table(box=None, pad_edge=False)
        for name in head:
            table.add_column(name, overflow='fold')
        for row in rows:
            table.add_row(*(rich.markup.escape(cell) for cell in row))
        self._terminal.print(table)
        widths = [
            max(len(line[i]) for line in (head, *rows))
            for i in range(len(head))
        ]
        for line in (head, *rows):
            cells = zip(line, widths, strict=True)
            self._write('  '.join(c.ljust(w) for c, w in cells).rstrip())

    @contextmanager
    def progress(
        self, name: str, total: int
    ) -> Iterator[Callable[[int], None]]:
        """Show a bar with the time left.

        Args:
            name (str): What is done.
            total (int): Number of steps.

        Yields:
            Callable: function of the number of finished steps.
        """
        with Progress(*progress_columns(12), console=self._terminal) as bars:
            task = bars.add_task(name, total=total)
            yield lambda done: bars.update(task, completed=done)
            bars.update(task, completed=total)

    def _write(self, text: str) -> None:
        assert self._file is not None
        self._file.write(text + '\n')
        self._file.flush()
