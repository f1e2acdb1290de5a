# SPDX-License-Identifier: Apache-2.0
"""Browsing, FLOPs and logs."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import plot_contrastive
import pytest
from browse_semi_dataset import rows_of_batch
from conftest import ROOT
from get_flops import complexity
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner


@pytest.mark.parametrize('labels', [False, True])
def test_browse__panels_of_a_batch(shapes_config, nano_segmenter, labels):
    from s4m.models.promptable import attach_segmenter

    cfg = shapes_config('s4m_shapes_5p')
    cfg.model.pseudo_labeler.cls_thr = 0.0
    cfg.train_dataloader.update(batch_size=3)
    cfg.train_dataloader.sampler.update(num_labeled=1, num_unlabeled=2)
    model = MODELS.build(cfg.model).eval()
    attach_segmenter(model.refiner, nano_segmenter)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    rows = rows_of_batch(model, next(iter(loader)), labels)
    # Crops of 128 x 256: image and truth; then the views of two images.
    widths = [row.shape[1] // 256 for row in rows]
    assert widths == [2, *([5, 5] if labels else [3, 3])]
    assert all(row.shape[0] == 128 and row.dtype == 'uint8' for row in rows)


@pytest.mark.parametrize(
    ('stage', 'widths'), [('distill', [3, 3, 3]), ('teacher_adapt', [3])]
)
def test_browse__pseudo_labels_of_a_file(
    shapes_config, shapes_root, stage, widths
):
    """Weak view, what it learns from, strong view, of each image."""
    cfg = shapes_config(f'sskd_{stage}_shapes_5p')
    data = cfg.train_dataloader
    if stage == 'distill':
        truth = 'annotations/instancesonly_filtered_gtFine_train.json'
        data.dataset.unlabeled.ann_file = str(shapes_root / truth)
        data.update(batch_size=3)
        data.sampler.update(num_labeled=1, num_unlabeled=2)
    else:
        data.update(batch_size=1)
    model = MODELS.build(cfg.model).eval()
    batch = next(iter(Runner.build_dataloader(data, seed=0)))
    rows = rows_of_batch(model, batch, False)
    assert [row.shape[1] // 256 for row in rows] == widths
    for row in rows:
        weak, masks, strong = np.split(row.astype(int), 3, axis=1)
        assert np.abs(weak - masks).max() > 50  # painted: there are objects
        assert np.abs(weak - strong).mean() > 1


def test_flops__of_the_student(shapes_config):
    semi = complexity(shapes_config('s4m_shapes_5p'), (64, 128))
    plain = complexity(shapes_config('supervised_shapes_5p'), (64, 128))
    assert semi['flops'] == plain['flops']
    model = MODELS.build(shapes_config('supervised_shapes_5p').model)
    assert plain['params'] == sum(p.numel() for p in model.parameters())
    # Convolutions at least; four times the pixels, about four times the work.
    larger = complexity(shapes_config('supervised_shapes_5p'), (128, 256))
    assert 3 < larger['flops'] / plain['flops'] < 4.5


def test_flops__of_a_composite(shapes_config):
    """The detector, and SAM 2 with a box for each that may be found."""
    cfg = shapes_config('sskd_teacher_supervised_shapes_5p')
    counts = {}
    for boxes in (1, 5, 9):
        cfg.model.test_cfg.max_per_image = boxes
        counts[boxes] = complexity(cfg, (64, 128))
    alone = dict(model=cfg.model.detector)
    alone = complexity(Config(alone), (64, 128))['flops']
    one, five, nine = (c['flops'] for c in counts.values())
    assert alone < one
    # A box costs the same as another.
    assert 0 < five - one == pytest.approx(nine - five, rel=1e-3)
    model = MODELS.build(cfg.model)
    model.build_segmenter()
    both = (model.detector, model.segmenter)
    assert counts[1]['params'] == sum(
        p.numel() for part in both for p in part.parameters()
    )


def test_logs__mmdets_tool_draws_ours(tmp_path):
    log = tmp_path / 'scalars.json'
    lines = (f'{{"step": {i}, "loss": {9 - i}.5}}\n' for i in range(1, 6))
    log.write_text(''.join(lines))
    tool = str(ROOT / 'tools/analysis/analyze_logs.py')
    out = tmp_path / 'curve.png'
    subprocess.run(
        [
            *(sys.executable, tool, 'plot_curve', str(log)),
            *('--keys', 'loss', '--out', str(out)),
        ],
        check=True,
        capture_output=True,
    )
    assert cv2.imread(str(out)) is not None


def test_contrastive_curves(tmp_path, monkeypatch):
    """Two runs, one of them in two logs; means of three values."""
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
                    }
                )
                for step in range(1 + 3 * part, 4 + 3 * part)
            ]
            lines.append(json.dumps({'step': 3, 'coco/segm_mAP': 0.1}))
            (folder / 'scalars.json').write_text('\n'.join(lines))
    curves = plot_contrastive.read_curves(tmp_path / 'a')
    assert curves['contrast/margin'] == [(i, i) for i in range(1, 7)]
    assert curves['contrast/fnr_gt'] == []
    means = plot_contrastive.smooth(np.array([3.0, 6, 9, 12]), 3)
    assert means.tolist() == [3, 4.5, 6, 9]
    out = tmp_path / 'curves.png'
    command = ['plot', str(tmp_path / 'a'), str(tmp_path / 'b')]
    monkeypatch.setattr('sys.argv', [*command, '--out', str(out)])
    plot_contrastive.main()
    assert cv2.imread(str(out)).shape[1] > 1000
    monkeypatch.setattr('sys.argv', ['plot', str(tmp_path), '--out', str(out)])
    with pytest.raises(SystemExit, match='ContrastiveDiagnosticsHook'):
        plot_contrastive.main()
