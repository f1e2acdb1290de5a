# SPDX-License-Identifier: Apache-2.0
"""Curves of logged values."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from s4m.visualization import (
    curve,
    curves,
    plot_contrastive_curves,
    plot_drift_curves,
    plot_training_curves,
    read_scalars,
)
from s4m.visualization.curves import smooth


@pytest.fixture
def runs(tmp_path):
    """Two runs, one of them in two logs."""
    for run, first in (('a', 0), ('b', 5)):
        for part in range(2 if run == 'a' else 1):
            folder = tmp_path / run / f'{part}' / 'vis_data'
            folder.mkdir(parents=True)
            lines = [
                json.dumps(
                    {
                        'step': step,
                        'contrast/margin': first + step,
                        'contrast/fnr_pred': 0.25,
                        'loss_contrast': 1.0,
                        'sup_loss_mask' if run == 'a' else 'loss_mask': step,
                    }
                )
                for step in range(1 + 3 * part, 4 + 3 * part)
            ]
            lines.append(json.dumps({'step': 3, 'coco/segm_mAP': 0.1}))
            lines.append('{"step": 4, "contr')  # being written
            (folder / 'scalars.json').write_text('\n'.join(lines))
    return {run: tmp_path / run for run in 'ab'}


def test_read_scalars__all_logs_of_a_run(runs):
    scalars = read_scalars(runs['a'])
    assert curve(scalars, 'contrast/margin') == [(i, i) for i in range(1, 7)]
    assert curve(scalars, 'contrast/fnr_gt') == []
    assert curve(scalars, 'coco/segm_mAP') == [(3, 0.1)]
    for run in runs.values():
        points = curve(read_scalars(run), 'sup_loss_mask', 'loss_mask')
        assert points[0] == (1, 1)


def test_smooth__mean_of_three():
    means = smooth(np.array([3.0, 6, 9, 12]), 3)
    assert means.tolist() == [3, 4.5, 6, 9]


def test_pictures(runs, tmp_path):
    plot_contrastive_curves(runs, tmp_path / 'new/c.png', window=3)
    plot_training_curves(runs, tmp_path / 't.png')
    for file in ('new/c.png', 't.png'):
        picture = cv2.imread(str(tmp_path / file))
        assert picture.shape[1] > 1000
        # Lines of matplotlib's first two colours, C0 (blue), C1 (orange).
        for color in ([180, 119, 31], [14, 127, 255]):
            assert (picture == color).all(-1).sum() > 100
    with pytest.raises(ValueError, match='ContrastiveDiagnosticsHook'):
        plot_contrastive_curves({'x': tmp_path}, tmp_path / 'x.png')


def test_drift_curves__what_is_there(tmp_path, monkeypatch):
    """Student and teacher, one network alone, and an empty run."""
    gt = dict(matched_iou=60.0, without_object=1.5, second=0.8, wrong_class=1)
    gt = {f'pseudo_labels/{key}': value for key, value in gt.items()}
    rows = {
        'semi': [
            {
                'step': 10,
                'pseudo_labels/per_image': 3.4,
                'pseudo_labels/duplicates': 0.8,
            },
            {
                'step': 20,
                'student/cityscapes/mAP': 0.2,
                'teacher/cityscapes/mAP': 0.25,
                'student/coco/segm_mAP': 0.9,
                **gt,
            },
        ],
        'alone': [{'step': 20, 'coco/segm_mAP': 0.1}],
        'empty': [],
    }
    for run, lines in rows.items():
        folder = tmp_path / run / '1/vis_data'
        folder.mkdir(parents=True)
        text = '\n'.join(map(json.dumps, lines))
        (folder / 'scalars.json').write_text(text)
    drawn, draw = [], curves.draw_plots

    def spy(plots, path):
        drawn.extend(plots)
        draw(plots, path)

    monkeypatch.setattr(curves, 'draw_plots', spy)
    runs = {run: tmp_path / run for run in rows}
    plot_drift_curves(runs, tmp_path / 'new/drift.png')
    got = {
        plot.title: [(ln.label, ln.points) for ln in plot.lines if ln.points]
        for plot in drawn
    }
    assert got == {
        # x 100, and the first of the two metrics.
        'AP of student; dashed: teacher': [
            ('semi', [(20, 20)]),
            ('', [(20, 25)]),
            ('alone', [(20, 10)]),
        ],
        'pseudo-labels': [('semi', [(10, 3.4)])],
        'duplicates': [('semi', [(10, 0.8)])],
        'without an object': [('semi', [(20, 1.5)])],
        'wrong class': [('semi', [(20, 1)])],
        'masks of matching ones': [('semi', [(20, 60)])],
    }
    colors = {ln.label: ln.color for ln in drawn[0].lines if ln.points}
    assert colors == {'semi': 'C0', '': 'C0', 'alone': 'C1'}
    assert [plot.legend for plot in drawn] == [True] + [False] * 5
    assert np.ptp(cv2.imread(str(tmp_path / 'new/drift.png'))) > 0
    # Without a validation the first plot that is there has the legend.
    drawn.clear()
    text = json.dumps(rows['semi'][0])
    (tmp_path / 'semi/1/vis_data/scalars.json').write_text(text)
    plot_drift_curves({'semi': tmp_path / 'semi'}, tmp_path / 'two.png')
    assert [plot.legend for plot in drawn] == [True, False]
    with pytest.raises(ValueError, match='PseudoLabelDriftHook'):
        plot_drift_curves({'x': tmp_path / 'empty'}, tmp_path / 'x.png')
