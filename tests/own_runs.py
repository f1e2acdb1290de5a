# SPDX-License-Identifier: Apache-2.0
"""Runs on one's own images, hand-made and with untrained networks."""

from __future__ import annotations

import json

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from s4m.apis.own_data.report import report
from s4m.apis.own_data.run_folder import RunFolder
from s4m.datasets.coco_io import annotation, encode_masks, read_coco
from s4m.utils.digests import file_digest

APPLE, PEAR = 3, 5
NAMES = ('apple <b>&', 'Birne ü')
KINDS = [dict(id=APPLE, name=NAMES[0]), dict(id=PEAR, name=NAMES[1])]
SIZE = 48, 64
CONFIG = """
labeled_images = unlabeled_images = {images!r}
model = dict(type='SemiInstanceSegmentor')
test_dataloader = dict(dataset=dict(data_prefix=dict(img={images!r})))
test_evaluator = dict(max_dets=100)
"""


def box(image, kind, x, y, **fields):
    """A square of 10 x 10 pixels."""
    mask = np.zeros((1, *SIZE), bool)
    mask[0, y : y + 10, x : x + 10] = True
    return annotation(image, kind, encode_masks(mask)[0], **fields)


def coco(names, annotations, **others):
    images = [
        dict(id=i, file_name=name, height=SIZE[0], width=SIZE[1])
        for i, name in enumerate(names, 1)
    ]
    entries = [dict(a, id=n) for n, a in enumerate(annotations, 1)]
    return dict(others, images=images, annotations=entries, categories=KINDS)


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


VAL = ['v1.png', 'v2.png', 'v3 <i>.png']
#: Two apples and two pears.
TRUTH = [
    box(1, APPLE, 4, 4),
    box(1, PEAR, 30, 4),
    box(2, APPLE, 4, 4),
    box(3, PEAR, 30, 30),
]
#: Both apples, a pear as an apple, and a pear where there is none.
FOUND = [
    box(1, APPLE, 4, 4, score=0.9),
    box(1, APPLE, 30, 4, score=0.8),
    box(2, APPLE, 4, 4, score=0.95),
    box(2, PEAR, 40, 30, score=0.6),
]
#: What is wrong with the labels, in the order of the page.
LABELS = [
    box(1, APPLE, 4, 4),
    box(1, PEAR, 30, 4),
    box(2, PEAR, 4, 30),
    box(2, APPLE, 4, 4),
]
ON_LABELS = [
    box(1, APPLE, 4, 4, score=0.9),
    box(1, APPLE, 30, 4, score=0.85),
    box(1, APPLE, 40, 30, score=0.8),
    box(1, PEAR, 20, 30, score=0.5),  # not confident
    box(2, APPLE, 4, 4, score=0.99),
]


class HandMadeRun:
    """A run with predictions that no network has made."""

    def __init__(self, path):
        self.path = path
        self.images = path / 'images'
        self.images.mkdir(parents=True)
        for name in ('l1.png', 'l2.png', 'u1.png', 'u2.png', *VAL):
            picture = np.full((*SIZE, 3), 90, np.uint8)
            cv2.imwrite(str(self.images / name), picture)
        self.config = CONFIG.format(images=f'{self.images}/')
        self.data = path / 'data'
        write(self.data / 'labeled.json', coco(['l1.png', 'l2.png'], LABELS))
        self.info = dict(
            request=dict(labeled='labels.json', seed=0),
            classes=list(NAMES),
            facts=dict(labeled=2, objects=4, unlabeled=0, validation=0),
            notes=['1 image <script>alert(1)</script> is left out'],
            decisions=[dict(setting='lr', value='1e-4', why='for a & b')],
            method='supervised',
            model='mask2former_r50',
            metrics={},
            seconds=dict(supervised=150.0),
            best='supervised',
        )
        (path / 'config.py').write_text(self.config)
        self.stage('supervised')

    def stage(self, name, rows=()):
        folder = self.path / 'stages' / name
        folder.mkdir(parents=True)
        (folder / 'iter_9.pth').write_text(f'weights of {name}')
        (folder / 'last_checkpoint').write_text(str(folder / 'iter_9.pth'))
        log = folder / '1/vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text('\n'.join(json.dumps(row) for row in rows))

    def add_student(self):
        (self.path / 'supervised.py').write_text(self.config)
        aps = [0.1, 0.3, 0.28, 0.25, 0.2]
        self.stage(
            'student',
            [
                {
                    'step': 9 * i,
                    'student/coco/segm_mAP': ap,
                    'sup_loss_mask': 1 - 0.1 * i,
                    'time': 0.5,
                    'memory': 2048,
                }
                for i, ap in enumerate(aps, 1)
            ],
        )
        labels = [box(1, APPLE, 4, 4, score=0.7)]
        unlabeled = coco(['u1.png', 'u2.png'], labels)
        write(self.path / 'pseudo_labels.json', unlabeled)
        self.info.update(method='guided_distillation', best='student')
        self.info['facts']['unlabeled'] = 2
        self.info['seconds']['student'] = 7200.0

    def add_validation(self):
        write(self.data / 'val.json', coco(VAL, TRUTH))
        self.info['facts']['validation'] = 3
        names = {'supervised': 0.2, 'teacher': 0.25, 'student': 0.5}
        if self.info['best'] == 'supervised':
            names = {'supervised': 0.2}
        for name, ap in names.items():
            self.info['metrics'][name] = {
                'coco/segm_mAP': ap,
                'coco/segm_mAP_50': 0.613,
                'coco/segm_mAP_75': -1.0,
            }
            # The other networks find nothing.
            found = FOUND if name == self.info['best'] else []
            self.predict(f'val_{name}', name, 'val', VAL, found, '0.0')

    def predict(self, file, network, images, names, found, score_thr):
        stage = 'supervised' if network == 'supervised' else 'student'
        checkpoint = self.path / f'stages/{stage}/iter_9.pth'
        info = dict(
            checkpoint_sha256=file_digest(checkpoint),
            images_sha256=file_digest(self.data / f'{images}.json'),
            model='teacher' if network == 'teacher' else 'student',
            score_thr=score_thr,
        )
        data = coco(names, found, info=info)
        write(self.data / f'predictions_{file}.json', data)

    def page(self):
        best, names = self.info['best'], ['l1.png', 'l2.png']
        self.predict('labeled', best, 'labeled', names, ON_LABELS, '0.05')
        write(self.path / 'run.json', self.info)
        path = report(self.path)
        assert path == self.path / 'report.html'
        return path.read_text(encoding='utf-8')


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
