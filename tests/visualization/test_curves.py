# SPDX-License-Identifier: Apache-2.0
"""Curves of logged values."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from s4m.visualization import (
    curve,
    plot_contrastive_curves,
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
