# SPDX-License-Identifier: Apache-2.0
"""Command lines of inference, pseudo-labels and analysis."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import CLASSES, ROOT
from mmdet.registry import MODELS


@pytest.fixture
def run(monkeypatch):
    """Run a tool in this process."""

    def call(tool: str, *arguments) -> None:
        command = [str(ROOT / 'tools' / tool), *map(str, arguments)]
        monkeypatch.setattr('sys.argv', command)
        runpy.run_path(command[0], run_name='__main__')

    return call


@pytest.fixture
def nano(shapes_config, tmp_path) -> tuple[Path, Path]:
    """Config and checkpoint of a random supervised model."""
    cfg = shapes_config('supervised_shapes_5p')
    cfg.dump(str(tmp_path / 'nano.py'))
    meta = dict(dataset_meta=dict(classes=CLASSES, palette='random'))
    state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state, meta=meta), tmp_path / 'nano.pth')
    return tmp_path / 'nano.py', tmp_path / 'nano.pth'


def _images(shapes_root) -> list:
    return [
        *('--images', shapes_root / 'annotations/semi/seed0@5-unlabeled.json'),
        *('--image-root', shapes_root / 'leftImg8bit/train'),
        *('--score-thr', '0.0', '--max-per-image', '2', '--workers', '0'),
    ]


def test_generate__two_processes_make_the_same_file(
    run, nano, shapes_root, tmp_path
):
    """tools/dist_generate_pseudo_labels.sh over gloo; every flag is read."""
    options = [
        *_images(shapes_root),
        *('--class-thr', 'car=0.1', '--min-area', 3, '--scales', 1.0),
        *('--non-overlapping', '--batch-size', 2, '--model', 'student'),
    ]
    one, two = tmp_path / 'one.json', tmp_path / 'two.json'
    run('generate_pseudo_labels.py', *nano, *options, '--out', one)
    # The launcher's `python` is this one.
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    env = dict(os.environ, PATH=path, PORT='29617', OMP_NUM_THREADS='1')
    script = ROOT / 'tools/dist_generate_pseudo_labels.sh'
    command = [script, *nano, '2', *options, '--out', two]
    result = subprocess.run(
        ['bash', *map(str, command)],
        env=env,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    one, two = (json.loads(file.read_text()) for file in (one, two))
    assert one['annotations'] == two['annotations']
    info = one['info']
    assert info['class_thr'] == "{'car': 0.1}" and info['min_area'] == '3'
    assert info['non_overlapping'] == 'True' and info['batch_size'] == '2'


def test_generate__weights_of_the_config(run, nano, shapes_root, tmp_path):
    """As for a zero-shot teacher."""
    out = tmp_path / 'out.json'
    arguments = [nano[0], 'none', *_images(shapes_root), '--out', out]
    run('generate_pseudo_labels.py', *arguments)
    assert json.loads(out.read_text())['info']['checkpoint'] == 'none'
    with pytest.raises(SystemExit, match='is there already'):
        run('generate_pseudo_labels.py', *arguments)
    arguments[1] = tmp_path / 'missing.pth'
    with pytest.raises(SystemExit, match='does not exist'):
        run('generate_pseudo_labels.py', *arguments)


def test_infer(run, nano, shapes_root, tmp_path):
    folder, out = shapes_root / 'leftImg8bit/val', tmp_path / 'out'
    arguments = [*nano, '--out', out, '--score-thr', '0.0', '--device', 'cpu']
    run('infer.py', folder, *arguments)
    assert len(json.loads((out / 'predictions.json').read_text())['images'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit, match='No image'):
        run('infer.py', tmp_path / 'empty', *arguments)


def test_evaluate_pseudo_labels(run, shapes_root, tmp_path):
    """The ground truth as its own prediction."""
    gt = shapes_root / 'annotations/instancesonly_filtered_gtFine_val.json'
    data = json.loads(gt.read_text())
    for item in data['annotations']:
        item['score'] = 1.0
    file = tmp_path / 'found.json'
    file.write_text(json.dumps(data))
    root = shapes_root / 'leftImg8bit/val'
    arguments = [file, '--ann', gt, '--out', tmp_path, '--image-root', root]
    run('analysis/evaluate_pseudo_labels.py', *arguments)
    figures = json.loads((tmp_path / 'quality.json').read_text())
    assert figures['mask_ap'] == figures['mask_iou'] == 100
    for name in ('worst', 'confusion'):
        assert cv2.imread(str(tmp_path / f'{name}.png')) is not None
    file.write_text('{')
    with pytest.raises(SystemExit, match='not a JSON file'):
        run('analysis/evaluate_pseudo_labels.py', *arguments)


def test_pseudo_label_quality(run, nano, shapes_config, shapes_root, tmp_path):
    shapes_config('s4m_shapes_5p').dump(str(tmp_path / 's4m.py'))
    gt = 'annotations/instancesonly_filtered_gtFine_train.json'
    arguments = ['--ann', shapes_root / gt, '--out', tmp_path / 'q']
    tool = 'analysis/pseudo_label_quality.py'
    run(tool, tmp_path / 's4m.py', *arguments, '--teacher', nano[1])
    figures = json.loads((tmp_path / 'q/quality.json').read_text())
    assert set(figures['mask_ap']) == {
        'teacher_classes_teacher_masks',
        'teacher_classes_refined_masks',
        'teacher_classes_true_masks',
        'true_classes_refined_masks',
    }
    with pytest.raises(SystemExit, match=r'No .*checkpoint'):
        run(tool, tmp_path / 's4m.py', *arguments, '--teacher', 'none')


def test_browse(run, nano, shapes_config, tmp_path):
    shapes_config('s4m_shapes_5p').dump(str(tmp_path / 's4m.py'))
    tool, out = 'analysis/browse_semi_dataset.py', tmp_path / 'browse'
    arguments = ['--out', out, '--batches', '1', '--teacher', nano[1]]
    run(tool, tmp_path / 's4m.py', *arguments)
    assert len(list(out.glob('000_*.png'))) == 8
    with pytest.raises(SystemExit, match='labelled images alone'):
        run(tool, nano[0], '--out', out)


def test_get_flops(run, nano, capsys):
    run('analysis/get_flops.py', nano[0], '--shape', 64, 128)
    assert 'input 64 x 128' in capsys.readouterr().out


def test_analyze_logs__mmdets_tool_draws_ours(run, tmp_path):
    log = tmp_path / 'scalars.json'
    lines = (f'{{"step": {i}, "loss": {9 - i}.5}}\n' for i in range(1, 6))
    log.write_text(''.join(lines))
    out = tmp_path / 'curve.png'
    arguments = ['plot_curve', log, '--keys', 'loss', '--out', out]
    run('analysis/analyze_logs.py', *arguments)
    assert cv2.imread(str(out)) is not None


def test_plot_contrastive(run, tmp_path):
    folder = tmp_path / 'run/1/vis_data'
    folder.mkdir(parents=True)
    rows = [{'step': i, 'contrast/margin': float(i)} for i in range(1, 4)]
    text = '\n'.join(map(json.dumps, rows))
    (folder / 'scalars.json').write_text(text)
    tool, out = 'analysis/plot_contrastive.py', tmp_path / 'curves.png'
    run(tool, tmp_path / 'run', '--out', out)
    assert np.ptp(cv2.imread(str(out))) > 0
    with pytest.raises(SystemExit, match='ContrastiveDiagnosticsHook'):
        run(tool, tmp_path, '--out', out)
    with pytest.raises(SystemExit):
        run(tool, tmp_path / 'run', tmp_path / 'run', '--out', out)


def test_plot_drift(run, tmp_path):
    folder = tmp_path / 'run/1/vis_data'
    folder.mkdir(parents=True)
    rows = [{'step': i, 'student/coco/segm_mAP': 0.1 * i} for i in (1, 2)]
    text = '\n'.join(map(json.dumps, rows))
    (folder / 'scalars.json').write_text(text)
    tool, out = 'analysis/plot_drift.py', tmp_path / 'drift.png'
    run(tool, tmp_path / 'run', '--out', out)
    assert np.ptp(cv2.imread(str(out))) > 0
    with pytest.raises(SystemExit, match='PseudoLabelDriftHook'):
        run(tool, tmp_path, '--out', out)
