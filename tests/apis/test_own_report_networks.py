# SPDX-License-Identifier: Apache-2.0
"""The page of a run whose networks predict."""

from __future__ import annotations

import json

import pytest
import torch
from mmdet.registry import MODELS
from s4m.apis.own_data.label_doubts import match_all
from s4m.apis.own_data.report import report
from s4m.apis.own_data.report_data import predict_validation, refine_labels
from s4m.apis.own_data.run_folder import RunFolder
from s4m.datasets.coco_io import read_coco


@pytest.fixture
def run(tmp_path, shapes_config, shapes_root):
    """An untrained S4M on Shapes, whose teacher labels every query."""
    path = tmp_path / 'run'
    folder = shapes_root / 'annotations'
    sets = dict(
        labeled=folder / 'semi/seed0@5.json',
        unlabeled=folder / 'semi/seed0@5-unlabeled.json',
        val=folder / 'instancesonly_filtered_gtFine_val.json',
    )
    (path / 'data').mkdir(parents=True)
    data = {}
    for name, file in sets.items():
        data[name] = read_coco(file)
        if name == 'unlabeled':
            data[name]['annotations'] = []
        (path / f'data/{name}.json').write_text(json.dumps(data[name]))
    images = {k: f'{shapes_root}/leftImg8bit/{k}/' for k in ('train', 'val')}
    for name, method in (
        ('supervised', 'supervised'),
        ('student', 's4m'),
    ):
        cfg = shapes_config(f'{method}_shapes_5p')
        cfg.labeled_images = cfg.unlabeled_images = images['train']
        cfg.test_dataloader.dataset.data_prefix.img = images['val']
        cfg.test_dataloader.dataset.data_root = ''
        cfg.test_evaluator = dict(type='CocoInstanceMetric')
        if name == 'student':
            cfg.model.pseudo_labeler.cls_thr = 0.0
        model = MODELS.build(cfg.model)
        stage = path / 'stages' / name
        stage.mkdir(parents=True)
        checkpoint = stage / 'iter_4.pth'
        torch.save({'state_dict': model.state_dict()}, checkpoint)
        (stage / 'last_checkpoint').write_text(str(checkpoint))
        config = 'config.py' if name == 'student' else 'supervised.py'
        cfg.dump(path / config)
    classes = [c['name'] for c in data['labeled']['categories']]
    info = dict(
        request={},
        classes=classes,
        facts=dict(
            labeled=4,
            objects=len(data['labeled']['annotations']),
            unlabeled=len(data['unlabeled']['images']),
            validation=len(data['val']['images']),
        ),
        method='s4m',
        metrics={n: {} for n in ('supervised', 'teacher', 'student')},
        seconds={},
        best='student',
    )
    (path / 'run.json').write_text(json.dumps(info))
    (path / 'pseudo_labels.json').write_text(json.dumps(data['unlabeled']))
    return RunFolder(path)


def test_report__predicts_once(run):
    page = report(run.path)
    text = page.read_text(encoding='utf-8')
    assert 'refined (' in text and 'id="predictions"' in text
    assert len(text) < 6e6
    files = sorted(run.data.glob('predictions_*.json'))
    assert [f.stem.removeprefix('predictions_') for f in files] == [
        'labeled',
        'refined',
        'val_student',
        'val_supervised',
        'val_teacher',
    ]
    times = [f.stat().st_mtime_ns for f in files]
    report(run.path)
    assert [f.stat().st_mtime_ns for f in files] == times
    # Other weights of the student: its files alone are made again.
    checkpoint = run.work_dir('student') / 'iter_4.pth'
    state = torch.load(checkpoint)
    state['state_dict']['student.panoptic_head.query_feat.weight'] += 1
    torch.save(state, checkpoint)
    report(run.path)
    again = [
        f.stem.removeprefix('predictions_')
        for f, time in zip(files, times, strict=True)
        if f.stat().st_mtime_ns != time
    ]
    assert again == ['labeled', 'refined', 'val_student', 'val_teacher']


def test_predictions__of_each_network(run):
    """Student and teacher of a checkpoint differ, and labels match images."""
    student, teacher = (
        predict_validation(run, name) for name in ('student', 'teacher')
    )
    assert student['annotations'] != teacher['annotations']
    truth = read_coco(run.data / 'val.json')
    for image, found in match_all(truth, student):
        assert {p['image_id'] for p in found.predictions} <= {image['id']}


def test_refinement__of_the_same_objects(run):
    images = read_coco(run.data / 'unlabeled.json')['images'][:2]
    rows = refine_labels(run, images)
    assert [row['image'] for row in rows] == images
    for row in rows:
        size = row['image']['height'], row['image']['width']
        assert row['before'] and row['after']
        for label in row['before'] + row['after']:
            assert tuple(label['segmentation']['size']) == size
        for number, label in enumerate(row['before']):
            assert label['position'] == number
        for label in row['after']:
            former = row['before'][label['position']]
            assert former['category_id'] == label['category_id']
    assert refine_labels(run, images) == rows
