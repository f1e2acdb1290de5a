# SPDX-License-Identifier: Apache-2.0
"""Train on the data of the demo, Nuclei or Shapes, and report."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID

from s4m.evaluation import quality_of_teacher, write_quality
from s4m.visualization import (
    plot_drift_curves,
    plot_training_curves,
    write_report,
)

from .config import resource_dir
from .launcher import Launcher
from .own_data import TrainResult, train
from .own_data.messages import progress_columns
from .pipeline import run_stage
from .stages import Stage, stages_of
from .table_rows import schedule

DATA = Path('data/shapes')
ANNOTATIONS = DATA / 'annotations/instancesonly_filtered_gtFine_train.json'
#: The last stage of each chain, and the names of its stages in the report.
#: The two chains run in parallel.
CHAINS = {
    'guided_distillation_shapes_5p': ('Supervised', 'Guided Distillation'),
    's4m_shapes_5p': ('S4M teacher', 'S4M'),
}
#: Order of the rows of the report.
ORDER = ('Supervised', 'Guided Distillation', 'S4M teacher', 'S4M')
#: Validations of a training and images of a validation; the tests at the end
#: have all 200 images.
VALIDATIONS, VAL_IMAGES = 5, 50


def run_demo(
    *, iters: int = 800, seed: int = 0, fast: bool = False
) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Make the data, train and test four models and write a report.

    Finished steps are skipped and a stopped run is resumed. The data are in
    ``data/shapes``, the runs in ``work_dirs/demo`` of the current folder.

    Args:
        iters (int): Number of iterations of each training. Defaults to 800.
        seed (int): Seed of the trainings. Defaults to 0.
        fast (bool): Whether to run 16 iterations and few images as a smoke
            test, in ``work_dirs/demo_fast``. Defaults to False.

    Returns:
        tuple[Path, dict]: the page, and the result of each method
        (:func:`s4m.apis.pipeline.run_stage`).
    """
    iters = 16 if fast else iters
    work_dir = Path('work_dirs', 'demo_fast' if fast else 'demo')
    work_dir.mkdir(parents=True, exist_ok=True)
    prepare_data()
    stages = demo_stages(work_dir, iters, seed, 1 if fast else VALIDATIONS)
    results = _train_all(stages, iters)
    runs = {name: stages[name].makes for name in ORDER}
    quality = _quality(stages['S4M'], work_dir, 24 if fast else None)
    plot_training_curves(runs, work_dir / 'curves.png')
    # Finished runs of an earlier version have logged nothing to draw.
    with contextlib.suppress(ValueError):
        plot_drift_curves(runs, work_dir / 'drift.png')
    page = write_report(work_dir, results, quality, iters, VAL_IMAGES)
    return page, results


def run_nuclei(
    *, iters: int | None = None, seed: int = 0, fast: bool = False
) -> TrainResult:
    """Train on the microscopy images of ``examples/nuclei``.

    This is ``s4m train`` with 6 labelled images, 38 without labels and 21 to
    validate on, into ``work_dirs/demo_nuclei`` of the current folder.

    Args:
        iters (int, optional): Number of iterations of each stage. Defaults
            to None, the command's.
        seed (int): Seed of the training. Defaults to 0.
        fast (bool): Whether to run 8 iterations on smaller crops as a smoke
            test, in ``work_dirs/demo_nuclei_fast``. Defaults to False.

    Returns:
        TrainResult: places and results.
    """
    data = resource_dir().resolve().parents[2] / 'examples/nuclei'
    if not data.is_dir():
        raise FileNotFoundError(
            f'The images of the demo are in the source of the project, not at '
            f'{data}'
        )
    options: dict[str, Any] = {} if iters is None else dict(iters=iters)
    if fast:
        options = dict(iters=8, size=64, validations=1)
    return train(
        data / 'annotations/labeled_6.json',
        images=data / 'images',
        val=data / 'annotations/val.json',
        out=Path('work_dirs', 'demo_nuclei_fast' if fast else 'demo_nuclei'),
        model='nano',
        seed=seed,
        **options,
    )


def demo_stages(
    work_dir: Path, iters: int, seed: int, validations: int = VALIDATIONS
) -> dict[str, Stage]:
    """Return the stages of the demo by name, each chain in its order."""
    images = {'val_dataloader.dataset.indices': VAL_IMAGES}
    stages: dict[str, Stage] = {}
    for config, names in CHAINS.items():
        chain = stages_of(
            config,
            root=work_dir,
            options_of=lambda cfg: (
                schedule(cfg, iters, seed, validations) | images
            ),
        )
        stages |= zip(names, chain, strict=True)
    return stages


def prepare_data() -> None:
    """Make Shapes, its COCO files and its 5 % split if they are missing."""
    split = DATA / 'annotations/semi/seed0@5-unlabeled.json'
    for made, tool, *arguments in (
        (DATA / 'gtFine', 'make_shapes', '--out', DATA),
        (ANNOTATIONS, 'cityscapes', DATA),
        (split, 'cityscapes_splits', DATA, '--percent', 5, '--seed', 0),
    ):
        if not made.exists():
            file = resource_dir() / 'tools/dataset_converters' / f'{tool}.py'
            subprocess.run(
                [sys.executable, str(file), *map(str, arguments)],
                check=True,
                env={'OMP_NUM_THREADS': '1', **os.environ},
            )


def _train_all(
    stages: dict[str, Stage], iters: int
) -> dict[str, dict[str, Any]]:
    """Train and test the chains in parallel, with progress bars."""
    results: dict[str, dict[str, Any]] = {}
    with (
        Progress(*progress_columns(20)) as bars,
        ThreadPoolExecutor(len(CHAINS)) as pool,
    ):
        tasks = {
            name: bars.add_task(name, total=iters, start=False)
            for names in CHAINS.values()
            for name in names
        }

        def progress_of(task: TaskID) -> Callable[[Stage, int], None]:
            return lambda _, done: bars.update(task, completed=done)

        def run_chain(names: tuple[str, ...]) -> None:
            for name in names:
                task = tasks[name]
                bars.start_task(task)
                launcher = Launcher(quiet=True, progress=progress_of(task))
                results[name] = run_stage(stages[name], launcher)
                bars.update(task, completed=iters)

        for job in [pool.submit(run_chain, n) for n in CHAINS.values()]:
            job.result()
    return {name: results[name] for name in ORDER}


def _quality(
    stage: Stage, work_dir: Path, limit: int | None
) -> dict[str, Any]:
    """Measure and draw the first pseudo-labels of a stage."""
    file = work_dir / 'quality.json'
    if not file.is_file():
        figures, picture = quality_of_teacher(
            stage.load(), ANNOTATIONS, num_pictures=8, limit=limit
        )
        write_quality(work_dir, figures, pseudo_labels=picture)
    return json.loads(file.read_text())
