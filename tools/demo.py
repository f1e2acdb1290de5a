# SPDX-License-Identifier: Apache-2.0
"""`make demo`: four methods on Shapes, from nothing to a report.

Makes the data, trains the supervised baseline, S4M's teacher, Guided
Distillation and S4M (one seed, two runs at a time), evaluates them with
tools/test.py and writes ``work_dirs/demo/report.html``. What is done is not
done again; a stopped run is resumed.
"""

from __future__ import annotations

import argparse
import html
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / 'tools' / 'benchmark'), str(ROOT / 'tools/analysis')]
import runs  # noqa: E402
from s4m.utils.whole_files import write_json  # noqa: E402

DATA = ROOT / 'data' / 'shapes'
TRUTH = DATA / 'annotations/instancesonly_filtered_gtFine_train.json'
# Name in the report, config, and the run that the teacher comes from. The two
# stages of each method run one after the other, the methods side by side.
CHAINS = (
    (
        ('Supervised', 'supervised_shapes_5p', None),
        ('Guided Distillation', 'guided_distillation_shapes_5p', 0),
    ),
    (
        ('S4M teacher', 's4m_teacher_shapes_5p', None),
        ('S4M', 's4m_shapes_5p', 0),
    ),
)


def prepare_data() -> None:
    """Shapes, its COCO files and the 5 % split, unless they are there."""
    tools = ROOT / 'tools/dataset_converters'
    split = DATA / 'annotations/semi/seed0@5-unlabeled.json'
    for done, command in (
        (DATA / 'gtFine', ['make_shapes.py', '--out', str(DATA)]),
        (TRUTH, ['cityscapes.py', str(DATA)]),
        (
            split,
            [
                'cityscapes_splits.py',
                str(DATA),
                '--percent',
                '5',
                '--seed',
                '0',
            ],
        ),
    ):
        if not done.exists():
            subprocess.run(
                [sys.executable, str(tools / command[0]), *command[1:]],
                check=True,
                env=runs.environment(),
            )


def train_all(work_dir: Path, iters: int, seed: int) -> dict[str, dict]:
    """Train and evaluate the four models.

    Returns:
        dict: :func:`runs.train_and_test`'s result of each model.
    """
    results: dict[str, dict] = {}
    progress = Progress(
        TextColumn('{task.description:20}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )

    def run_chain(chain) -> None:
        folders = []
        for name, config, teacher in chain:
            task = tasks[name]
            folder = work_dir / config
            (path,) = map(str, (ROOT / 'configs').rglob(f'{config}.py'))
            options = runs.schedule(path, iters, semi=teacher is not None)
            options['randomness.seed'] = seed
            if teacher is not None:
                options['model.teacher_checkpoint'] = folders[teacher]
            progress.start_task(task)
            results[name] = runs.train_and_test(
                path,
                folder,
                iters,
                options,
                lambda done, task=task: progress.update(task, completed=done),
                both=teacher is not None,
            )
            folders.append(folder)

    with progress, ThreadPoolExecutor(len(CHAINS)) as pool:
        tasks = {
            name: progress.add_task(name, total=iters, start=False)
            for chain in CHAINS
            for name, *_ in chain
        }
        for future in [pool.submit(run_chain, chain) for chain in CHAINS]:
            future.result()
    return results


def pseudo_label_quality(work_dir: Path, limit: int | None) -> dict:
    """Figures and grid of S4M's first pseudo-labels."""
    target = work_dir / 'quality.json'
    if not target.is_file():
        import cv2
        import numpy as np
        from mmengine.config import Config
        from pseudo_label_quality import measure

        cfg = Config.fromfile(str(ROOT / 'configs/s4m/s4m_shapes_5p.py'))
        cfg.model.teacher_checkpoint = str(work_dir / 's4m_teacher_shapes_5p')
        figures, pictures = measure(cfg, str(TRUTH), 8, limit=limit)
        if pictures:
            cv2.imwrite(
                str(work_dir / 'pseudo_labels.png'), np.concatenate(pictures)
            )
        write_json(target, figures, indent=2)
    return json.loads(target.read_text())


def plot_curves(work_dir: Path) -> None:
    """Training curves of the four models."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout='tight')
    titles = ('mask loss, labelled', 'class loss, labelled', 'pseudo-labels')
    models = [(name, cfg) for chain in CHAINS for name, cfg, _ in chain]
    for number, (name, config) in enumerate(models):
        rows = runs.loss_curve(work_dir / config)
        for axis, keys in zip(
            axes,
            (
                ('sup_loss_mask', 'loss_mask'),
                ('sup_loss_cls', 'loss_cls'),
                ('num_pseudo',),
            ),
            strict=True,
        ):
            points = [
                (step, next(row[key] for key in keys if key in row))
                for step, row in rows
                if any(key in row for key in keys)
            ]
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    label=name,
                    # The same in every panel.
                    color=f'C{number}',
                )
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title)
        axis.set_xlabel('iteration')
        axis.grid(alpha=0.3)
    axes[2].set_ylabel('per image')
    axes[0].legend()
    figure.savefig(work_dir / 'curves.png', dpi=110)
    plt.close(figure)


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1000px;
       margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; }
td, th { padding: .3em .9em; border-bottom: 1px solid #ccc;
         text-align: right; }
td:first-child, th:first-child { text-align: left; }
img { width: 100%; }
.grid { display: grid; grid-template-columns: repeat(3, 1fr);
        text-align: center; font-weight: 600; }
figure { margin: 1.5em 0; }
"""


def write_report(
    work_dir: Path, results: dict[str, dict], quality: dict, iters: int
) -> Path:
    """``report.html`` beside its pictures."""
    order = ('Supervised', 'Guided Distillation', 'S4M teacher', 'S4M')
    rows = ''
    for name in order:
        metrics = results[name]['metrics']
        net = metrics.get('student', metrics.get('model'))
        cells = [
            100 * net[key]
            for key in (
                'cityscapes/mAP',
                'cityscapes/AP@50',
                'coco/segm_mAP',
            )
        ]
        values = ''.join(f'<td>{value:.1f}</td>' for value in cells)
        minutes = results[name]['train_seconds'] / 60
        rows += (
            f'<tr><td>{html.escape(name)}</td>{values}'
            f'<td>{minutes:.1f}</td></tr>'
        )
    facts = ''.join(
        f'<tr><td>{html.escape(label)}</td><td>{quality.get(key)}</td></tr>'
        for label, key in (
            ('unlabelled images', 'images'),
            ('pseudo-labels per image', 'per_image'),
            ('class accuracy, %', 'class_accuracy'),
            (
                "IoU of the teacher's masks with the truth, %",
                'teacher_mask_iou',
            ),
            ('IoU of the refined masks with the truth, %', 'refined_mask_iou'),
        )
    )
    grid = ''
    if (work_dir / 'pseudo_labels.png').is_file():
        grid = (
            '<div class="grid"><span>teacher</span><span>refined</span>'
            '<span>ground truth</span></div>'
            '<img src="pseudo_labels.png" alt="teacher, refined, truth">'
        )
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Demo on Shapes</title>
<style>{STYLE}</style>
<h1>Four methods on Shapes</h1>
<p>20 labelled and 400 unlabelled images of 128 x 256 pixels, Mask2Former-nano
from scratch, {iters} iterations each, one seed, evaluated on 200 images. AP x
100; minutes of training with two runs at a time.</p>
<table><tr><th>method</th><th>AP (Cityscapes)</th><th>AP50</th>
<th>mask AP (COCO)</th><th>minutes</th></tr>{rows}</table>
<p>One seed says little: <code>tools/benchmark/shapes_table.py</code> runs
several.</p>
<h2>Training</h2><figure><img src="curves.png" alt="training curves"></figure>
<h2>Pseudo-labels of S4M's teacher</h2>
<p>Each mask against the object that it overlaps best; the same pseudo-labels
before and after refinement by the nano SAM 2; labelled images left out.</p>
<table>{facts}</table><figure>{grid}</figure></html>
"""
    target = work_dir / 'report.html'
    target.write_text(page)
    return target


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--fast', action='store_true', help='prove the path in 3 minutes'
    )
    parser.add_argument('--iters', type=int, default=800)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    iters = 16 if args.fast else args.iters
    work_dir = ROOT / 'work_dirs' / ('demo_fast' if args.fast else 'demo')
    work_dir.mkdir(parents=True, exist_ok=True)
    prepare_data()
    results = train_all(work_dir, iters, args.seed)
    quality = pseudo_label_quality(work_dir, 24 if args.fast else None)
    plot_curves(work_dir)
    report = write_report(work_dir, results, quality, iters)
    console = Console()
    for name, result in results.items():
        console.print(f'{name:20} AP {runs.student_ap(result):5.1f}')
    console.print(f'Report: {report}')


if __name__ == '__main__':
    main()
