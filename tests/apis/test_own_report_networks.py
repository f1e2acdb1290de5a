# SPDX-License-Identifier: Apache-2.0
"""The page of a run whose networks predict."""

from __future__ import annotations

import pytest
import torch
from own_runs import make_run
from s4m.apis.own_data.label_doubts import match_all
from s4m.apis.own_data.report import report
from s4m.apis.own_data.report_data import predict_validation, refine_labels
from s4m.datasets.coco_io import read_coco


@pytest.fixture
def run(tmp_path, shapes_config, shapes_root):
    return make_run(tmp_path / 'run', shapes_config, shapes_root)


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
