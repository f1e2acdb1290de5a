# SPDX-License-Identifier: Apache-2.0
"""Make tables of many runs: missing runs are trained, results are dated."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    wait,
)
from pathlib import Path
from typing import Any

import torch

from s4m.visualization.curves import curve, read_scalars

from .config import resource_dir
from .launcher import Launcher
from .pipeline import is_trained, run_stage
from .stages import Stage
from .table_results import (
    Results,
    average_precision,
    describe_origin,
    format_rows,
    write_between,
)
from .table_rows import BEDS, TABLES, Bed


def make_tables(
    tables: Sequence[str],
    *,
    bed: str = 'shapes',
    seeds: Sequence[int] = (0, 1, 2),
    iters: int | None = None,
    jobs: int = 1,
    work_dir: str | Path = 'work_dirs/method_tables',
    results: str | Path | None = None,
    write: str | Path | None = None,
    report_only: bool = False,
) -> str:
    """Train the missing runs of tables, and return the tables.

    Every run has the same iterations, batch size, learning rate and test
    path, and is in fp32 on any machine. A second call resumes where the first
    one stopped; a run that two tables need is trained once.

    Args:
        tables (Sequence[str]): Names in
            :data:`~s4m.apis.table_rows.TABLES`.
        bed (str): Name in :data:`~s4m.apis.table_rows.BEDS`. Defaults to
            ``shapes``.
        seeds (Sequence[int]): Seeds; each has a column. Defaults to 0, 1, 2.
        iters (int, optional): Number of iterations of each run. Defaults to
            None, the bed's.
        jobs (int): Number of parallel runs. Defaults to 1.
        work_dir (str | Path): Folder of the runs.
        results (str | Path, optional): JSON file of all results. Defaults to
            None, ``docs/results/{bed}_table.json``.
        write (str | Path, optional): Markdown file in which each table
            replaces the text between its markers. Defaults to None.
        report_only (bool): Whether nothing is trained. Defaults to False.

    Returns:
        str: the tables as markdown.

    Raises:
        FileNotFoundError: if the bed has no config for a row.
        ValueError: if the markdown file has no markers for a table.
    """
    place = BEDS[bed]
    iters = place.iters if iters is None else iters
    known = Results(results or f'docs/results/{bed}_table.json')
    if not report_only:
        folder = Path(work_dir).absolute()
        stages = plan(tables, place, seeds, iters, folder, known)
        run_all(stages, lambda stage: make_run(stage, place, known), jobs)
    texts = []
    for name in tables:
        rows = TABLES[name]
        text = (
            f'{describe_origin(rows, place, seeds, iters, known)}\n\n'
            f'{format_rows(name, rows, place, seeds, iters, known)}'
        )
        texts.append(text)
        if write is not None:
            write_between(Path(write), f'{bed}_table {name}', text)
    return '\n\n'.join(texts)


def plan(
    tables: Sequence[str],
    bed: Bed,
    seeds: Sequence[int],
    iters: int,
    work_dir: Path,
    results: Results,
) -> list[Stage]:
    """List the stages that the missing runs of tables need, in order."""
    rows = {row.run(bed): row for name in tables for row in TABLES[name]}
    stages: dict[Path, Stage] = {}
    for seed in seeds:
        for run, row in rows.items():
            if results.get(f'{run}/{iters}/{seed}') is None:
                for stage in row.stages(bed, iters, seed, work_dir):
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


def make_run(stage: Stage, bed: Bed, results: Results) -> None:
    """Train and test a stage, and store its result, curves and origin.

    Args:
        stage (Stage): Stage in a work directory ``ITERATIONS/SEED/RUN``.
        bed (Bed): Data set of the stage.
        results (Results): Known results; the new result is added to them.
    """
    iters, seed, run = stage.makes.parts[-3:]
    key = f'{run}/{iters}/{seed}'
    launcher = Launcher(quiet=True, amp='off')
    was_trained = is_trained(stage, launcher)
    done = run_stage(stage, launcher)
    if was_trained and results.get(key) is not None:
        return
    networks = {
        network: {
            name: round(100 * metrics.get(metric, 0.0), 2)
            for name, metric in bed.metrics.items()
        }
        for network, metrics in done['metrics'].items()
    }
    result = dict(
        seconds=round(done['train_seconds']),
        **networks,
        curves=read_curves(stage.makes, bed),
        **origin(),
    )
    results.put(key, result)
    print(f'{key}: {average_precision(result):.1f}', flush=True)


def read_curves(
    work_dir: Path, bed: Bed
) -> dict[str, list[tuple[int, float]]]:
    """Read AP and pseudo-labels over the iterations from a run's log.

    Returns:
        dict: (iteration, value) by name: the AP x 100 of ``student``,
        ``teacher`` or ``model``, and ``pseudo_labels/...``.
    """
    scalars = read_scalars(work_dir)
    names = {key for _, row in scalars for key in row}
    metric = next(iter(bed.metrics.values()))
    curves = {
        name: [(step, round(value, 2)) for step, value in curve(scalars, name)]
        for name in sorted(names)
        if name.startswith('pseudo_labels/')
    }
    for network in ('student', 'teacher', 'model'):
        key = metric if network == 'model' else f'{network}/{metric}'
        points = curve(scalars, key)
        if points:
            curves[network] = [(n, round(100 * ap, 2)) for n, ap in points]
    return curves


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return platform.machine()


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
        machine=f'{_processor()}, {os.cpu_count()} cores',
    )
