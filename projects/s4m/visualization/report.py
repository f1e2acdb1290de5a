# SPDX-License-Identifier: Apache-2.0
"""Write the HTML page that ``make demo`` ends with."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from s4m.utils.whole_files import write_whole

_STYLE = """
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
_METRICS = ('cityscapes/mAP', 'cityscapes/AP@50', 'coco/segm_mAP')
_QUALITY = (
    ('unlabelled images', 'images'),
    ('pseudo-labels per image', 'per_image'),
    ('class accuracy, %', 'class_accuracy'),
    (
        "IoU of the teacher's masks with the ground truth, %",
        'teacher_mask_iou',
    ),
    ('IoU of the refined masks with the ground truth, %', 'refined_mask_iou'),
)


def write_report(
    work_dir: str | Path,
    results: dict[str, dict[str, Any]],
    quality: dict[str, Any],
    iters: int,
    val_images: int,
) -> Path:
    """Write the demo's results as a page.

    The page shows ``curves.png`` and, if they exist, ``drift.png`` and
    ``pseudo_labels.png`` of the same folder.

    Args:
        work_dir (str | Path): Folder that gets ``report.html``.
        results (dict): ``metrics`` (fractions, by network) and
            ``train_seconds`` of each method, in the order of the rows. A
            missing metric counts as 0, since MMDetection omits it if a
            network predicts nothing.
        quality (dict): Figures of
            :func:`s4m.evaluation.quality_of_teacher`.
        iters (int): Number of iterations of each training.
        val_images (int): Number of images of a validation in a training.

    Returns:
        Path: the page.
    """
    work_dir = Path(work_dir)
    target = work_dir / 'report.html'
    rows = ''.join(_row(name, result) for name, result in results.items())
    facts = ''.join(
        f'<tr><td>{html.escape(label)}</td>'
        f'<td>{quality.get(key, "-")}</td></tr>'
        for label, key in _QUALITY
    )
    pictures = ''
    if (work_dir / 'pseudo_labels.png').is_file():
        pictures = (
            '<div class="grid"><span>teacher</span><span>refined</span>'
            '<span>ground truth</span></div><img src="pseudo_labels.png" '
            'alt="teacher, refined, ground truth">'
        )
    drift = ''
    if (work_dir / 'drift.png').is_file():
        drift = f"""<h2>Student, teacher and pseudo-labels</h2>
<p>AP of student (solid) and teacher (dashed) on {val_images} validation
images, and the pseudo-labels per image. If the AP falls while pseudo-labels
and duplicates grow, the teacher drifts. What is wrong is counted on unlabelled
images, against annotations that no training sees.</p>
<figure><img src="drift.png" alt="AP and pseudo-labels"></figure>
"""
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Demo on Shapes</title>
<style>{_STYLE}</style>
<h1>Four methods on Shapes</h1>
<p>20 labelled and 400 unlabelled images of 128 x 256 pixels, Mask2Former-nano
that starts from random scenes, {iters} iterations each, one seed, evaluated on
200 images. AP x 100; minutes of training with two runs at a time.</p>
<table><tr><th>method</th><th>AP (Cityscapes)</th><th>AP50</th>
<th>mask AP (COCO)</th><th>minutes</th></tr>{rows}</table>
<p>One seed says little: <code>tools/benchmark/method_tables.py</code> runs
several.</p>
<h2>Training</h2><figure><img src="curves.png" alt="training curves"></figure>
{drift}<h2>Pseudo-labels of S4M's teacher</h2>
<p>Each mask against the object that it overlaps best; the same pseudo-labels
before and after refinement by the nano SAM 2; labelled images left out.</p>
<table>{facts}</table><figure>{pictures}</figure></html>
"""
    with write_whole(target) as partial:
        partial.write_text(page)
    return target


def _row(name: str, result: dict[str, Any]) -> str:
    """Format metrics x 100 and minutes of one method as a table row."""
    networks = result['metrics']
    metrics = networks.get('student', networks.get('model', {}))
    cells = ''.join(
        f'<td>{100 * metrics.get(key, 0.0):.1f}</td>' for key in _METRICS
    )
    minutes = result['train_seconds'] / 60
    return (
        f'<tr><td>{html.escape(name)}</td>{cells}<td>{minutes:.1f}</td></tr>'
    )
