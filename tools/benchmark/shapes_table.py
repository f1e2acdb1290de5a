# SPDX-License-Identifier: Apache-2.0
"""Tables of docs/benchmarks.md on Shapes: methods over seeds, and their parts.

    python tools/benchmark/shapes_table.py --iters 1600 --seeds 0 1 2 --jobs 2

Every run has the same iterations, batch size, learning rate and test path.
Runs are kept in ``--work-dir`` and results in ``--results``; started again,
the script goes on where it stopped, and a run that two tables need is made
once. ``--write FILE`` puts each table between its markers in a markdown file.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import json
import os
import platform
import statistics
import sys
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from pathlib import Path

import runs

sys.path.append(str(Path(__file__).parents[1]))
from s4m.utils.whole_files import write_json, write_whole


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name (str): In the table.
        config (str): Below ``configs/``; its stem names the run.
        teacher (str): Stem of the run that gives the teacher.
        semi (bool): Whether there are two networks.
        burns_in (bool): Whether burn-in grows with the iterations.
        weight (float): ``unsup_weight`` instead of the config's.
        pseudo (str): Stem of the run whose pseudo-labels it trains on.
        start (str): Stem of the run whose weights it starts from, for a
            tenth of the iterations.
    """

    name: str
    config: str
    teacher: str | None = None
    semi: bool = True
    burns_in: bool = True
    weight: float | None = None
    pseudo: str | None = None
    start: str | None = None

    @property
    def before(self) -> str | None:
        """Stem of the run that has to be there first."""
        return self.teacher or self.pseudo or self.start

    def length(self, iters: int) -> int:
        """Iterations of this run in a table of ``iters``."""
        return iters if self.start is None else max(1, iters // 10)

    @property
    def run(self) -> str:
        """Stem of the config, and what differs from it."""
        stem = Path(self.config).stem
        return stem if self.weight is None else f'{stem}_w{self.weight:g}'

    def options(self, iters: int, folder: Path) -> dict[str, object]:
        """``--cfg-options`` of this run."""
        options = runs.schedule(
            f'configs/{self.config}',
            self.length(iters),
            self.semi and self.burns_in,
        )
        if self.teacher is not None:
            options['model.teacher_checkpoint'] = folder / self.teacher
        if self.weight is not None:
            options['model.semi_train_cfg.unsup_weight'] = self.weight
        if self.pseudo is not None:
            options['train_dataloader.dataset.unlabeled.ann_file'] = (
                folder / self.pseudo / 'pseudo_labels.json'
            )
        if self.start is not None:
            options['load_from'] = folder / self.start / f'iter_{iters}.pth'
        return options


SUP, SD = 'supervised_shapes_5p', 's4m_teacher_shapes_5p'
GUIDED = 'guided_distillation/guided_distillation_shapes_5p.py'
SUPERVISED = Row('Supervised', f'supervised/{SUP}.py', semi=False)


def sskd(name: str, stage: str, folder: str = 'sskd', **kwargs) -> Row:
    """A row of SSKD: one network, stage 2 learns from the teacher of 1b."""
    config = f'{folder}/sskd_{stage}_shapes_5p.py'
    return Row(name, config, semi=False, **kwargs)


def distilled(name: str, stage: str) -> Row:
    """A row of SSKD's stage 2 with other terms or negatives."""
    return sskd(name, stage, 'ablation', pseudo=SELFTRAIN)


ADAPT, SELFTRAIN = (
    f'sskd_teacher_{stage}_shapes_5p' for stage in ('adapt', 'selftrain')
)
STUDENT = sskd('Student, supervised', 'student_supervised')
DISTILL = sskd('Student, stage 2', 'distill', pseudo=SELFTRAIN)
TABLES = {
    'methods': (
        SUPERVISED,
        Row('S4M teacher', f's4m/{SD}.py', semi=False),
        Row('Guided Distillation', GUIDED, SUP),
        Row('S4M', 's4m/s4m_shapes_5p.py', SD),
    ),
    'ablation': (
        Row('none', GUIDED, SUP),
        Row('SD', 's4m/s4m_sd_shapes_5p.py', SD),
        Row('PR', 's4m/s4m_pr_shapes_5p.py', SUP),
        Row('ARP without PR', 's4m/s4m_arp_shapes_5p.py', SUP),
        Row('PR + ARP', 's4m/s4m_pr_arp_shapes_5p.py', SUP),
        Row('SD + PR + ARP (S4M)', 's4m/s4m_shapes_5p.py', SD),
        Row('S4M, in_mask', 's4m/s4m_in_mask_shapes_5p.py', SD),
    ),
    # Guided Distillation, Table 4, Figure 6 and Table 5.
    'strategies': (
        SUPERVISED,
        Row(
            'No burn-in',
            'guided_distillation/guided_distillation_no_burn_in_shapes_5p.py',
            burns_in=False,
        ),
        Row(
            'Fixed teacher',
            'guided_distillation/guided_distillation_fixed_teacher_shapes_5p.py',
            SUP,
        ),
        Row(
            'Standard',
            'guided_distillation/guided_distillation_standard_shapes_5p.py',
        ),
        Row('Guided', GUIDED, SUP),
    ),
    'augmentation': (
        Row(
            'Same views',
            'guided_distillation/guided_distillation_same_views_shapes_5p.py',
            SUP,
        ),
        Row('Textural', GUIDED, SUP),
        Row(
            'With cutout',
            'guided_distillation/guided_distillation_cutout_shapes_5p.py',
            SUP,
        ),
    ),
    'weights': (
        Row('0 (supervised)', f'supervised/{SUP}.py', semi=False),
        Row('0.1', GUIDED, SUP, weight=0.1),
        Row("0.5 (the configs')", GUIDED, SUP),
        Row('2', GUIDED, SUP, weight=2),
        Row('5', GUIDED, SUP, weight=5),
    ),
    # SSKD: stages, terms of the loss, negatives.
    'sskd_stages': (
        sskd('Teacher, supervised', 'teacher_supervised'),
        sskd('Teacher, adapted (1a)', 'teacher_adapt'),
        sskd('Teacher, self-trained (1b)', 'teacher_selftrain', pseudo=ADAPT),
        STUDENT,
        distilled('Student, pseudo-labels only', 'semi'),
        DISTILL,
        sskd(
            'Student, refined (stage 3)',
            'refine',
            start='sskd_distill_shapes_5p',
        ),
    ),
    'sskd_terms': (
        STUDENT,
        distilled('+ semi', 'sup_semi'),
        distilled('+ pxl', 'sup_pxl'),
        Row('all', DISTILL.config, semi=False, pseudo=SELFTRAIN),
    ),
    'sskd_sampling': (
        distilled('uniform', 'uniform'),
        distilled('mask', 'mask'),
        distilled('class', 'class'),
        Row('fusion', DISTILL.config, semi=False, pseudo=SELFTRAIN),
    ),
}
#: Every run by its name, for those that others start from.
ROWS = {row.run: row for rows in TABLES.values() for row in rows}


class Results:
    """Results of all runs in one JSON file, written whole.

    Several threads and processes may add to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = self._read()

    def _read(self) -> dict:
        return json.loads(self.path.read_text()) if self.path.is_file() else {}

    def get(self, key: str) -> dict | None:
        """A run's result, or None."""
        return self.data.get(key)

    def put(self, key: str, value: dict) -> None:
        """Keep a run's result."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            self.data = {**self._read(), key: value}
            write_json(self.path, self.data, indent=1, sort_keys=True)
        finally:
            os.close(folder)


def make_run(
    row: Row,
    seed: int,
    iters: int,
    work_dir: Path,
    results: Results,
    starts_others: bool = False,
) -> dict:
    """Train and test one row with one seed, unless its result is known.

    Args:
        row (Row): The run.
        seed (int): Of the training.
        iters (int): Length.
        work_dir (Path): Holds the runs, which may have been deleted since.
        results (Results): Known ones.
        starts_others (bool): Whether its checkpoint is needed too.
    """
    key = f'{row.run}/{iters}/{seed}'
    found = results.get(key)
    folder = work_dir / str(iters) / str(seed)
    length = row.length(iters)
    checkpoint = folder / row.run / f'iter_{length}.pth'
    if found is None or (starts_others and not checkpoint.is_file()):
        options = row.options(iters, folder)
        options['randomness.seed'] = seed
        done = runs.train_and_test(
            f'configs/{row.config}',
            folder / row.run,
            length,
            options,
            both=row.semi,
        )
        found = {
            'seconds': done['train_seconds'],
            **{
                net: {
                    'AP': round(100 * m['cityscapes/mAP'], 2),
                    'AP50': round(100 * m['cityscapes/AP@50'], 2),
                    'COCO AP': round(100 * m['coco/segm_mAP'], 2),
                }
                for net, m in done['metrics'].items()
            },
        }
        results.put(key, found)
        print(f'{key}: {ap(found):.1f}', flush=True)
    if starts_others and any(r.pseudo == row.run for r in ROWS.values()):
        runs.generate_pseudo_labels(
            f'configs/{row.config}',
            checkpoint,
            folder / row.run / 'pseudo_labels.json',
        )
    return found


def plan(
    tables: list[str], seeds: list[int], iters: int, results: Results
) -> dict[tuple[str, int], tuple[Row, bool]]:
    """What has to be made: what the tables lack, and what that starts from.

    Returns:
        dict: row, and whether others start from it, by (run, seed); a run
        comes after the one that it starts from.
    """
    jobs: dict[tuple[str, int], tuple[Row, bool]] = {}

    def need(row: Row, seed: int, starts_others: bool) -> None:
        if row.before is not None:
            need(ROWS[row.before], seed, True)
        _, before = jobs.get((row.run, seed), (row, False))
        jobs[row.run, seed] = row, starts_others or before

    for seed in seeds:
        for name in tables:
            for row in TABLES[name]:
                if results.get(f'{row.run}/{iters}/{seed}') is None:
                    need(row, seed, False)
    return jobs


def make_all(
    args: argparse.Namespace, work_dir: Path, results: Results
) -> None:
    """Make what the tables lack, ``args.jobs`` runs at a time.

    A run begins as soon as the one that it starts from is there.
    """
    left = plan(args.tables, args.seeds, args.iters, results)
    running: dict[Future, tuple[str, int]] = {}
    with ThreadPoolExecutor(args.jobs) as pool:
        while left or running:
            unfinished = {*left, *running.values()}
            for (run, seed), (row, starts_others) in list(left.items()):
                if (row.before, seed) in unfinished:
                    continue
                job = pool.submit(
                    make_run,
                    row,
                    seed,
                    args.iters,
                    work_dir,
                    results,
                    starts_others,
                )
                running[job] = run, seed
                del left[run, seed]
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for job in done:
                del running[job]
                job.result()


def ap(result: dict, metric: str = 'AP') -> float:
    """AP of the evaluated network."""
    return result.get('student', result.get('model'))[metric]


def table(name: str, seeds: list[int], iters: int, results: Results) -> str:
    """Markdown of one table; runs not made yet are dashes."""
    head = ' | '.join(f'seed {s}' for s in seeds)
    lines = [
        f'| {name} | {head} | mean ± std | AP50 | COCO AP |',
        '|---|' + '---|' * (len(seeds) + 3),
    ]
    for row in TABLES[name]:
        found = [results.get(f'{row.run}/{iters}/{s}') for s in seeds]
        known = [f for f in found if f]
        cells = [f'{ap(f):.1f}' if f else '-' for f in found]
        values = [ap(f) for f in known]
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else None
            text = f'{statistics.mean(values):.1f}'
            cells.append(text + (f' ± {spread:.1f}' if spread else ''))
            for metric in ('AP50', 'COCO AP'):
                mean = statistics.mean(ap(f, metric) for f in known)
                cells.append(f'{mean:.1f}')
        else:
            cells += ['-'] * 3
        lines.append(f'| {row.name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def write_between(path: Path, marker: str, text: str) -> None:
    """Replace what stands between two marker comments of a file.

    Raises:
        ValueError: if the markers are not there.
    """
    begin, end = f'<!-- {marker}: begin -->', f'<!-- {marker}: end -->'
    page = path.read_text()
    if begin not in page or end not in page:
        raise ValueError(f'{path} has no {begin} ... {end}')
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    with write_whole(path) as partial:
        partial.write_text(f'{before}{begin}\n{text}\n{end}{after}')


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--tables', nargs='+', default=list(TABLES)[:2], choices=list(TABLES)
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--iters', type=int, default=1600)
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/shapes_table')
    )
    parser.add_argument(
        '--results', type=Path, default=Path('docs/results/shapes_table.json')
    )
    parser.add_argument('--write', type=Path, help='markdown file to update')
    parser.add_argument(
        '--report-only', action='store_true', help='train nothing'
    )
    args = parser.parse_args()
    results = Results(args.results)
    work_dir = args.work_dir.absolute()
    if not args.report_only:
        make_all(args, work_dir, results)
    stamp = (
        f'{args.iters} iterations, {platform.machine()}, '
        f'{os.cpu_count()} cores, {datetime.date.today()}.'
    )
    for name in args.tables:
        text = table(name, args.seeds, args.iters, results)
        print(f'\n{text}')
        if args.write:
            text = f'{stamp}\n\n{text}'
            write_between(args.write, f'shapes_table {name}', text)


if __name__ == '__main__':
    main()
