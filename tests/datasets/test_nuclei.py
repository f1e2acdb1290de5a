# SPDX-License-Identifier: Apache-2.0
"""The example data: files, README and the samples of its configs."""

from __future__ import annotations

import re
from collections import Counter

import cv2
import pytest
from conftest import ROOT
from leaf_configs import load
from mmdet.registry import DATASETS
from s4m.datasets import DrawIndex
from s4m.datasets.coco_checks import check_annotations, check_same_classes
from s4m.datasets.coco_io import read_coco

NUCLEI = ROOT / 'examples/nuclei'
FILES = ('train', 'labeled_6', 'unlabeled', 'val')
#: Rows of the table: file, images, nuclei, nuclei of an image.
_ROW = re.compile(
    r'^\| `annotations/(\w+)\.json` \| (\d+) \| (\d+) \| (.+?) \|'
)


@pytest.fixture(scope='module')
def coco():
    return {name: read_coco(_file(name)) for name in FILES}


def _file(name: str) -> str:
    return str(NUCLEI / f'annotations/{name}.json')


def _counts(data: dict) -> list[int]:
    """Nuclei of each image."""
    found = Counter(a['image_id'] for a in data['annotations'])
    return [found[image['id']] for image in data['images']]


def test_readme__has_the_counts_of_the_files(coco):
    lines = (NUCLEI / 'README.md').read_text().splitlines()
    rows = [match.groups() for match in map(_ROW.match, lines) if match]
    assert [row[0] for row in rows] == list(FILES)
    for name, images, nuclei, spread in rows:
        counts = _counts(coco[name])
        assert (len(counts), sum(counts)) == (int(images), int(nuclei))
        low, high = min(counts), max(counts)
        assert spread == (f'{low} to {high}' if high else '-')
    text = ' '.join(lines)
    counts = _counts(coco['train']) + _counts(coco['val'])
    for limit in (100, 200):
        number = sum(count > limit for count in counts)
        assert f'{number} of the 65' in text or f'{number} more than' in text
    comment = (ROOT / 'configs/_base_/datasets/nuclei_instance.py').read_text()
    many = sorted(c for c in _counts(coco['val']) if c > 100)
    assert f'({", ".join(map(str, many))})' in comment
    hidden = sum(many) - 100 * len(many)
    assert f'{hidden} of {sum(_counts(coco["val"]))}' in comment


def test_sets__of_the_names(coco):
    """Labelled images are training images, and none is for validation."""
    ids = {k: {i['file_name'] for i in v['images']} for k, v in coco.items()}
    assert ids['labeled_6'] < ids['train'] == ids['unlabeled']
    assert not ids['train'] & ids['val']
    files = {p.name for p in (NUCLEI / 'images').iterdir()}
    assert ids['train'] | ids['val'] == files
    for data in coco.values():
        for image in data['images']:
            pixels = cv2.imread(str(NUCLEI / 'images' / image['file_name']))
            size = (image['height'], image['width'])
            assert pixels.shape[:2] == size


@pytest.fixture
def semi_cfg(monkeypatch):
    monkeypatch.chdir(ROOT)
    return load('s4m/s4m_nuclei_14p')


def test_annotations__pass_the_checks(semi_cfg):
    """The files that the configs read, and all labels."""
    data = semi_cfg.train_dataloader.dataset
    sets = {
        'labeled': DATASETS.build(data.labeled),
        'unlabeled': DATASETS.build(data.unlabeled),
        'val': DATASETS.build(semi_cfg.val_dataloader.dataset),
        'train': DATASETS.build(
            dict(data.labeled, ann_file='annotations/train.json')
        ),
    }
    sizes = {name: len(dataset) for name, dataset in sets.items()}
    assert sizes == dict(labeled=6, unlabeled=44, val=21, train=44)
    for name, dataset in sets.items():
        labeled = name != 'unlabeled'
        check_annotations(dataset, labeled, needs_instance=labeled)
        check_same_classes(labeled=sets['labeled'], other=dataset)


def test_samples__crops_with_visible_nuclei(semi_cfg):
    dataset = DATASETS.build(semi_cfg.train_dataloader.dataset)
    for index in range(6):
        item = dataset[DrawIndex(index, (0, 100, index))]
        assert item['inputs']['sup'].shape == (3, 128, 128)
        masks = item['data_samples']['sup'].gt_instances.masks
        assert len(masks) and masks.to_ndarray().any((1, 2)).all()
    item = dataset[DrawIndex(len(dataset) - 1, (0, 100, 9))]
    assert item['inputs']['unsup_student'].shape == (3, 128, 128)


def test_validation__images_keep_their_size(semi_cfg):
    dataset = DATASETS.build(semi_cfg.val_dataloader.dataset)
    for index in (0, len(dataset) - 1):
        sample = dataset[index]['data_samples']
        assert sample.img_shape[:2] == sample.ori_shape[:2]
