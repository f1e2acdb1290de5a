# SPDX-License-Identifier: Apache-2.0
"""The COCO files of a generated miniature against its PNGs."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from mmdet.datasets import ADE20KInstanceDataset
from pycocotools.coco import COCO
from s4m.datasets.converters.ade20k import convert, convert_split
from s4m.datasets.converters.coco_splits import make_splits


@pytest.fixture
def root(tmp_path):
    """Ten photos with rectangles of random classes, one without any."""
    rng = np.random.default_rng(0)
    for number in range(10):
        split = 'training' if number < 8 else 'validation'
        for folder in ('images', 'annotations_instance'):
            (tmp_path / folder / split).mkdir(parents=True, exist_ok=True)
        size = (24, 32 + number)
        png = np.zeros((*size, 3), np.uint8)
        for instance in range(1, 4 if number else 1):
            y, x = rng.integers(0, 12, 2)
            kind = int(rng.integers(1, 101))
            png[y : y + 10, x : x + 14] = (0, instance, kind)  # BGR
        name = f'ADE_{number:08d}'
        photo = rng.integers(0, 255, (*size, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f'images/{split}/{name}.jpg'), photo)
        file = tmp_path / f'annotations_instance/{split}/{name}.png'
        cv2.imwrite(str(file), png)
    return tmp_path


def test_convert__equals_the_pngs(root):
    convert(root, workers=1)
    coco = COCO(str(root / 'ade20k_instance_train.json'))
    names = [c['name'] for c in coco.dataset['categories']]
    assert names == list(ADE20KInstanceDataset.METAINFO['classes'])
    assert len(names) == 100 and names[0] == 'bed' and names[99] == 'flag'
    assert len(coco.dataset['images']) == 8
    assert 0 not in coco.anns  # pycocotools counts its match as a miss
    for image in coco.dataset['images']:
        stem = image['file_name'].removesuffix('.jpg')
        file = root / f'annotations_instance/training/{stem}.png'
        png = cv2.imread(str(file))
        wanted = {tuple(v) for v in png.reshape(-1, 3)[:, 1:].tolist()}
        wanted -= {(0, 0)}
        anns = coco.loadAnns(coco.getAnnIds(image['id']))
        assert len(anns) == len(wanted)
        for ann in anns:
            mask = coco.annToMask(ann).astype(bool)
            (value,) = {tuple(v) for v in png[mask][:, 1:].tolist()}
            assert value in wanted and value[1] == ann['category_id']
            assert (png[..., 1] == value[0]).sum() == mask.sum()
            assert ann['area'] == mask.sum()
    data = json.loads((root / 'ade20k_instance_val.json').read_text())
    assert len(data['images']) == 2


def test_data_set__of_the_configs(root):
    """MMDet reads the file; splits of it are drawn like COCO's."""
    from conftest import ROOT
    from mmengine.config import Config

    convert(root, workers=1)
    make_splits(root, ann='ade20k_instance_train.json', percent=[50])
    base = Config.fromfile(ROOT / 'configs/_base_/splits/ade20k_10p.py')
    for ann in (
        base.labeled_ann.replace('@10', '@50'),
        base.semi_split.dataset.unlabeled.ann_file,
    ):
        assert (root / ann).is_file()
    dataset = ADE20KInstanceDataset(
        data_root=str(root),
        ann_file=base.labeled_ann.replace('@10', '@50'),
        data_prefix=dict(img='images/training/'),
        pipeline=[],
    )
    assert len(dataset) == 4
    for i in range(len(dataset)):
        assert (root / dataset.get_data_info(i)['img_path']).is_file()


@pytest.mark.parametrize(
    ('break_it', 'word'),
    [
        (lambda r, p: next((r / 'images/training').iterdir()).unlink(),
         'is missing'),
        (lambda r, p: p.write_bytes(b'nothing'), 'cannot be read'),
        (lambda r, p: cv2.imwrite(str(p), np.zeros((4, 4, 3), np.uint8)),
         'is 4 x 4 pixels'),
        (lambda r, p: _fill(p, [(0, 1, 101)]), 'has the class 101'),
        (lambda r, p: _fill(p, [(0, 1, 5), (0, 1, 6)]),
         r'instance 1 has the classes \[5, 6\]'),
    ],
)  # fmt: skip
def test_bad_input(root, break_it, word):
    file = sorted((root / 'annotations_instance/training').iterdir())[0]
    break_it(root, file)
    with pytest.raises((FileNotFoundError, ValueError), match=word):
        convert_split(root, 'train', workers=1)
    with pytest.raises(FileNotFoundError, match='annotations_instance'):
        convert_split(root / 'images', 'train')


def _fill(file, values) -> None:
    png = cv2.imread(str(file))
    for k, value in enumerate(values):
        png[k] = value
    cv2.imwrite(str(file), png)
