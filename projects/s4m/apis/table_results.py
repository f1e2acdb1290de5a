# SPDX-License-Identifier: Apache-2.0
"""Store the results of many runs, and format them as tables."""

from __future__ import annotations

import fcntl
import json
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from s4m.utils.whole_files import write_json, write_whole

from .table_rows import Bed, Row


class Results:
    """Stores the results of all runs in one JSON file.

    Several threads and processes may add to the file.

    Args:
        path (Path): The file, which may be missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.data = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        return json.loads(self.path.read_text()) if self.path.is_file() else {}

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the result of a run (``RUN/ITERATIONS/SEED``), or None."""
        return self.data.get(key)

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Add the result of a run."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            self.data = {**self._read(), key: value}
            write_json(self.path, self.data, indent=1, sort_keys=True)
        finally:
            os.close(folder)


def average_precision(result: Mapping[str, Any], metric: str = 'AP') -> float:
    """Return AP x 100 of the evaluated network of a result."""
    return result.get('student', result.get('model'))[metric]


def describe_origin(
    rows: Sequence[Row],
    bed: Bed,
    seeds: Sequence[int],
    iters: int,
    results: Results,
) -> str:
    """Name the commit, machine and dates of the runs of a table.

    Runs that differ from the most frequent commit and machine are listed.
    """
    runs = {
        f'{row.name}, seed {seed}': run
        for row in rows
        for seed in seeds
        if (run := results.get(f'{row.run(bed)}/{iters}/{seed}')) is not None
    }
    places = {
        name: (run.get('commit', 'unknown'), run.get('machine', 'unknown'))
        for name, run in runs.items()
    }
    if not places:
        return f'{iters} iterations; no run has been made yet.'
    common = Counter(places.values()).most_common(1)[0][0]
    dates = sorted(
        run.get('date', 'unknown')
        for name, run in runs.items()
        if places[name] == common
    )
    days = ' to '.join(dict.fromkeys((dates[0], dates[-1])))
    text = (
        f'{iters} iterations; commit {common[0]}, machine {common[1]}, '
        f'date {days}.'
    )
    others = [
        f'{name} (commit {commit}, machine {machine}, '
        f'date {runs[name].get("date", "unknown")})'
        for name, (commit, machine) in places.items()
        if (commit, machine) != common
    ]
    if others:
        text += f' Not of this commit and machine: {"; ".join(others)}.'
    return text


def format_rows(
    title: str,
    rows: Sequence[Row],
    bed: Bed,
    seeds: Sequence[int],
    iters: int,
    results: Results,
) -> str:
    """Format one table as markdown; a missing run is a dash.

    The columns are the AP of each seed, their mean and standard deviation,
    the difference to the first row with the same seed, the fall of the AP
    from the best validation to the last one, and the bed's other metrics.
    """
    others = list(bed.metrics)[1:]
    head = [title, *(f'seed {s}' for s in seeds), 'mean ± std']
    head += [f'to {rows[0].name}', 'fall', *others]
    lines = [f'| {" | ".join(head)} |', '|---|' + '---|' * (len(head) - 1)]
    first: list[float | None] = []
    for row in rows:
        runs = [results.get(f'{row.run(bed)}/{iters}/{s}') for s in seeds]
        known = [run for run in runs if run]
        values = [average_precision(run) if run else None for run in runs]
        first = first or values
        pairs = zip(values, first, strict=True)
        cells = ['-' if v is None else f'{v:.1f}' for v in values]
        cells.append(_spread([v for v in values if v is not None]))
        cells.append(
            _spread(
                [a - b for a, b in pairs if a is not None and b is not None],
                '+.1f',
            )
            if row is not rows[0]
            else ''
        )
        falls = [fall for run in known if (fall := fall_of(run)) is not None]
        cells.append(_spread(falls))
        for metric in others:
            cells.append(_mean([average_precision(r, metric) for r in known]))
        lines.append(f'| {row.name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def fall_of(result: Mapping[str, Any]) -> float | None:
    """Return by how much the AP fell from the best validation to the last.

    Args:
        result (Mapping): Result with ``curves``.

    Returns:
        float | None: Difference in points of AP; None without validations.

    Example:
        >>> fall_of(dict(curves=dict(student=[(8, 20.0), (16, 17.5)])))
        2.5
    """
    curves = result.get('curves', {})
    points = curves.get('student', curves.get('model'))
    if not points:
        return None
    return max(value for _, value in points) - points[-1][1]


def _mean(values: Sequence[float], form: str = '.1f') -> str:
    return f'{statistics.mean(values):{form}}' if values else '-'


def _spread(values: Sequence[float], form: str = '.1f') -> str:
    """Format mean and, of several values, standard deviation."""
    text = _mean(values, form)
    if len(values) > 1:
        text += f' ± {statistics.stdev(values):.1f}'
    return text


def write_between(path: Path, marker: str, text: str) -> None:
    """Replace the text between two marker comments of a file.

    Raises:
        ValueError: if the markers are missing.
    """
    begin, end = f'<!-- {marker}: begin -->', f'<!-- {marker}: end -->'
    before, _, rest = path.read_text().partition(begin)
    if end not in rest:
        raise ValueError(f'{path} has no {begin} ... {end}')
    after = rest.partition(end)[2]
    with write_whole(path) as partial:
        partial.write_text(f'{before}{begin}\n{text}\n{end}{after}')
