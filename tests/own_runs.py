# SPDX-License-Identifier: Apache-2.0
"""A run on one's own images, with untrained networks."""

from __future__ import annotations

import json

import torch
from mmdet.registry import MODELS
from s4m.apis.own_data.run_folder import RunFolder
from s4m.datasets.coco_io import read_coco


def make_run(path, shapes_config, shapes_root) -> RunFolder:
    """Write an S4M on Shapes, whose teacher labels every query."""
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
