# SPDX-License-Identifier: Apache-2.0
"""The COCO files against the PNGs, and the splits."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from conftest import CLASSES
from pycocotools.coco import COCO
from s4m.datasets.converters.cityscapes import convert_split
from s4m.datasets.converters.cityscapes_splits import (
    make_split,
    read_list,
    stem_of,
)

ANN = 'annotations/instancesonly_filtered_gtFine_train.json'


def test_convert__equals_the_pngs(shapes_root):
    coco = COCO(str(shapes_root / ANN))
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(
        CLASSES
    )
    names = [i['file_name'] for i in coco.dataset['images']]
    assert names == sorted(names)
    for image in coco.dataset['images']:
        stem = image['file_name'].replace('_leftImg8bit.png', '')
        ids = cv2.imread(
            str(shapes_root / f'gtFine/train/{stem}_gtFine_instanceIds.png'),
            cv2.IMREAD_UNCHANGED,
        )
        wanted = [v for v in np.unique(ids) if v > 23]
        anns = coco.loadAnns(coco.getAnnIds(image['id']))
        assert len(anns) == len(wanted)
        for ann, value in zip(anns, wanted, strict=True):
            mask = ids == value
            np.testing.assert_array_equal(coco.annToMask(ann), mask)
            assert ann['area'] == mask.sum()
            assert ann['iscrowd'] == (value < 1000)
            y, x = np.nonzero(mask)
            box = [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            assert ann['bbox'] == box
            label = value // 1000 if value >= 1000 else value
            assert ann['category_id'] == label


def test_convert__does_not_depend_on_workers(shapes_root):
    assert convert_split(shapes_root, 'val', 1) == convert_split(
        shapes_root, 'val', 2
    )


def test_convert__missing_files(shapes_root, tmp_path):
    with pytest.raises(FileNotFoundError, match='gtFine_trainvaltest'):
        convert_split(tmp_path, 'train')
    shutil.copytree(shapes_root, tmp_path / 'x')
    next((tmp_path / 'x/leftImg8bit/val').glob('*/*.png')).unlink()
    with pytest.raises(FileNotFoundError, match='is missing'):
        convert_split(tmp_path / 'x', 'val', 1)


@pytest.fixture
def published(shapes_root, tmp_path):
    """A list in the published format: every third image."""
    data = json.loads((shapes_root / ANN).read_text())
    names = [stem_of(i) for i in data['images']]
    path = tmp_path / 'perc_10.txt'
    lines = [f'{n}_gtFine_instanceIds.png\n' for n in names[::3]]
    path.write_text(''.join(lines))
    return path, data, names


def test_published_list(published):
    path, _, names = published
    assert read_list(path, names) == set(names[::3])


def test_published_list__bad(published, tmp_path):
    path, _, names = published
    with pytest.raises(FileNotFoundError, match='GuidedDistillation'):
        read_list(tmp_path / 'perc_99.txt', names)
    path.write_text(path.read_text() + 'ulm_1_2_gtFine_instanceIds.png\n')
    with pytest.raises(ValueError, match='entry 5: no training image ulm_1_2'):
        read_list(path, names)
    path.write_text('\n')
    with pytest.raises(ValueError, match='names no image'):
        read_list(path, names)


def test_split__names_and_bad_arguments(published, shapes_root, tmp_path):
    path = published[0]
    root = tmp_path / 'x'
    shutil.copytree(shapes_root / 'annotations', root / 'annotations')
    make_split(root, percent=10, published=path)
    make_split(root, percent=12.5, seed=1, unlabeled='rest')
    semi = root / 'annotations/semi'
    parts = {p.name: json.loads(p.read_text()) for p in semi.iterdir()}
    assert len(parts['published@10.json']['images']) == 4
    assert len(parts['published@10-unlabeled.json']['images']) == 12
    assert len(parts['seed1@12.5.json']['images']) == 1
    rest = parts['seed1@12.5-unlabeled.json']
    assert len(rest['images']) == 11 and rest['annotations'] == []
    for arguments, message in (
        (dict(percent=120, seed=1), r'not in \(0, 100\]'),
        (dict(percent=10), 'a published list or a seed'),
        (dict(percent=10, seed=1, unlabeled='none'), "'all' or 'rest'"),
    ):
        with pytest.raises(ValueError, match=message):
            make_split(root, **arguments)
    with pytest.raises(FileNotFoundError, match=r'run .*cityscapes\.py'):
        make_split(tmp_path, percent=10, seed=1)
