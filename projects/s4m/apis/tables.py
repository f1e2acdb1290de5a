# SPDX-License-Identifier: Apache-2.0
"""Make tables of many runs: missing runs are trained, results are dated."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import platform
import statistics
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    wait,
)
from pathlib import Path
from typing import Any

from s4m.utils.whole_files import write_json, write_whole

from .config import resource_dir
from .launcher import Launcher
from .pipeline import is_trained, run_stage
from .shapes_tables import TABLES, Row
from .stages import Stage

#: Metrics of tools/test.py by their names in a table.
METRICS = {
    'AP': 'cityscapes/mAP',
    'AP50': 'cityscapes/AP@50',
    'COCO AP': 'coco/segm_mAP',
}


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


def make_tables(
    tables: Sequence[str],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    iters: int = 1600,
    jobs: int = 1,
    work_dir: str | Path = 'work_dirs/shapes_table',
    results: str | Path = 'docs/results/shapes_table.json',
    write: str | Path | None = None,
    report_only: bool = False,
) -> str:
    """Train the missing runs of tables on Shapes, and return the tables.

    Every run has the same iterations, batch size, learning rate and test
    path. A second call resumes where the first one stopped; a run that two
    tables need is trained once.

    Args:
        tables (Sequence[str]): Names in :data:`TABLES`.
        seeds (Sequence[int]): Seeds; each has a column. Defaults to 0, 1, 2.
        iters (int): Number of iterations of each run. Defaults to 1600.
        jobs (int): Number of parallel runs. Defaults to 1.
        work_dir (str | Path): Folder of the runs.
        results (str | Path): JSON file of all results.
        write (str | Path, optional): Markdown file in which each table
            replaces the text between its markers. Defaults to None.
        report_only (bool): Whether nothing is trained. Defaults to False.

    Returns:
        str: the tables as markdown.

    Raises:
        ValueError: if the markdown file has no markers for a table.
    """
    known = Results(results)
    if not report_only:
        folder = Path(work_dir).absolute()
        stages = plan(tables, seeds, iters, folder, known)
        run_all(stages, lambda stage: make_run(stage, known), jobs)
    texts = []
    for name in tables:
        rows = TABLES[name]
        text = (
            f'{describe_origin(rows, seeds, iters, known)}\n\n'
            f'{format_rows(name, rows, seeds, iters, known)}'
        )
        texts.append(text)
        if write is not None:
            write_between(Path(write), f'shapes_table {name}', text)
    return '\n\n'.join(texts)


def plan(
    tables: Sequence[str],
    seeds: Sequence[int],
    iters: int,
    work_dir: Path,
    results: Results,
) -> list[Stage]:
    """List the stages that the missing runs of tables need, in order."""
    stages: dict[Path, Stage] = {}
    for seed in seeds:
        for row in (row for name in tables for row in TABLES[name]):
            if results.get(f'{row.run}/{iters}/{seed}') is None:
                for stage in row.stages(iters, seed, work_dir):
                    stages.setdefault(stage.makes, stage)
    return list(stages.values())


def run_all(
    stages: Sequence[Stage], make: Callable[[Stage], Any], jobs: int
) -> None:
    """Call a function for each stage, several in parallel.

    A stage begins as soon as the stages that it needs are finished.

    Args:
        stages (Sequence[Stage]): Stages, each after the ones that it needs.
        make (Callable): Function that trains a stage.
        jobs (int): Number of parallel stages.
    """
    left = {stage.makes: stage for stage in stages}
    running: dict[Future, Path] = {}
    with ThreadPoolExecutor(jobs) as pool:
        while left or running:
            unfinished = {*left, *running.values()}
            for place, stage in list(left.items()):
                needs = {before.makes for before in stage.needs.values()}
                if not needs & unfinished:
                    running[pool.submit(make, stage)] = place
                    del left[place]
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for job in done:
                del running[job]
                job.result()


def make_run(stage: Stage, results: Results) -> None:
    """Train and test a stage, and store its result and origin.

    Args:
        stage (Stage): Stage in a work directory ``ITERATIONS/SEED/RUN``.
        results (Results): Known results; the new result is added to them.
    """
    iters, seed, run = stage.makes.parts[-3:]
    key = f'{run}/{iters}/{seed}'
    launcher = Launcher(quiet=True)
    was_trained = is_trained(stage, launcher)
    done = run_stage(stage, launcher)
    if was_trained and results.get(key) is not None:
        return
    networks = {
        network: {
            name: round(100 * metrics.get(metric, 0.0), 2)
            for name, metric in METRICS.items()
        }
        for network, metrics in done['metrics'].items()
    }
    result = dict(seconds=round(done['train_seconds']), **networks, **origin())
    results.put(key, result)
    print(f'{key}: {average_precision(result):.1f}', flush=True)


def origin() -> dict[str, str]:
    """Return commit, date and machine of a result that is made now."""
    git = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--exclude=*'],
        cwd=resource_dir(),
        capture_output=True,
        text=True,
    )
    return dict(
        commit=git.stdout.strip() or 'unknown',
        date=str(datetime.date.today()),
        machine=f'{platform.machine()}, {os.cpu_count()} cores',
    )


def average_precision(result: Mapping[str, Any], metric: str = 'AP') -> float:
    """Return AP x 100 of the evaluated network of a result."""
    return result.get('student', result.get('model'))[metric]


def describe_origin(
    rows: Sequence[Row], seeds: Sequence[int], iters: int, results: Results
) -> str:
    """Name the commit, machine and dates of the runs of a table.

    Runs that differ from the most frequent commit and machine are listed.
    """
    runs = {
        f'{row.name}, seed {seed}': run
        for row in rows
        for seed in seeds
        if (run := results.get(f'{row.run}/{iters}/{seed}')) is not None
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
    seeds: Sequence[int],
    iters: int,
    results: Results,
) -> str:
    """Format one table as markdown; a missing run is a dash."""
    head = ' | '.join(f'seed {s}' for s in seeds)
    lines = [
        f'| {title} | {head} | mean ± std | AP50 | COCO AP |',
        '|---|' + '---|' * (len(seeds) + 3),
    ]
    for row in rows:
        runs = [results.get(f'{row.run}/{iters}/{s}') for s in seeds]
        known = [run for run in runs if run]
        cells = [f'{average_precision(r):.1f}' if r else '-' for r in runs]
        values = [average_precision(run) for run in known]
        if values:
            text = f'{statistics.mean(values):.1f}'
            if len(values) > 1:
                text += f' ± {statistics.stdev(values):.1f}'
            cells.append(text)
            for metric in ('AP50', 'COCO AP'):
                mean = statistics.mean(
                    average_precision(run, metric) for run in known
                )
                cells.append(f'{mean:.1f}')
        else:
            cells += ['-'] * 3
        lines.append(f'| {row.name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def write_between(path: Path, marker: str, text: str) -> None:
    """Replace the text between two marker comments of a file.

    Raises:
        ValueError: if the markers are missing.
    """
    begin, end = f'<!-- {marker}: begin -->', f'<!-- {marker}: end -->'
    page = path.read_text()
    if begin not in page or end not in page:
        raise ValueError(f'{path} has no {begin} ... {end}')
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    with write_whole(path) as partial:
        partial.write_text(f'{before}{begin}\n{text}\n{end}{after}')
