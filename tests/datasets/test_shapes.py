# SPDX-License-Identifier: Apache-2.0
"""Shapes: Cityscapes' layout, its own evaluation's rules, reproducible."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.labels import name2label
from s4m.datasets.shapes import (
    CLASSES,
    make_scene,
    make_shapes,
    parse_size,
)


def test_classes__are_cityscapes():
    for name, label, _ in CLASSES:
        assert name2label[name].id == label
        assert name2label[name].hasInstances
        assert not name2label[name].ignoreInEval


def test_layout(shapes_root):
    pictures = sorted(shapes_root.glob('leftImg8bit/train/*/*.png'))
    assert len(pictures) == 12
    for picture in pictures:
        stem = picture.name.removesuffix('_leftImg8bit.png')
        folder = shapes_root / 'gtFine/train' / picture.parent.name
        ids = cv2.imread(
            str(folder / f'{stem}_gtFine_instanceIds.png'),
            cv2.IMREAD_UNCHANGED,
        )
        labels = cv2.imread(
            str(folder / f'{stem}_gtFine_labelIds.png'), cv2.IMREAD_UNCHANGED
        )
        assert ids.dtype == np.uint16 and ids.shape == (64, 128)
        np.testing.assert_array_equal(
            labels, np.where(ids >= 1000, ids // 1000, ids)
        )
        polygons = json.loads(
            (folder / f'{stem}_gtFine_polygons.json').read_text()
        )
        assert (polygons['imgHeight'], polygons['imgWidth']) == ids.shape
        # Back to front, the polygons give the instance map again.
        again = np.zeros((64, 128), np.uint8)
        for item in polygons['objects']:
            points = np.array(item['polygon'])
            name = item['label'].removesuffix('group')
            cv2.fillPoly(
                again,
                [(points * 16).round().astype(np.int32)],
                name2label[name].id,
                shift=4,
            )
        # Up to the pixels on outlines, many in so small a picture.
        assert (again == labels).mean() > 0.94


def test_same_seed__same_bytes(tmp_path):
    for name, workers in (('a', 1), ('b', 2)):
        make_shapes(
            tmp_path / name,
            train=3,
            val=1,
            size=(48, 64),
            seed=5,
            workers=workers,
        )
    files = [p for p in (tmp_path / 'a').rglob('*') if p.is_file()]
    assert len(files) == 16
    for file in files:
        other = tmp_path / 'b' / file.relative_to(tmp_path / 'a')
        assert file.read_bytes() == other.read_bytes()


def test_objects__sizes_groups_and_empty_images():
    sizes, groups, empty = [], 0, 0
    for n in range(120):
        scene = make_scene(np.random.default_rng([0, 0, n]), 128, 256)
        values, counts = np.unique(scene['instance_ids'], return_counts=True)
        things = counts[values >= 1000]
        sizes += things.tolist()
        groups += ((values > 23) & (values < 1000)).any()
        empty += len(things) == 0
    assert np.mean(np.array(sizes) >= 150) >= 0.9
    assert groups > 3
    assert 1 <= empty < 20


def test_size__full_cityscapes():
    scene = make_scene(np.random.default_rng(1), 1024, 2048)
    assert scene['image'].shape == (1024, 2048, 3)
    assert len(np.unique(scene['instance_ids'])) > 2


def test_existing_folder_is_kept(tmp_path):
    with pytest.raises(FileExistsError, match='exists'):
        make_shapes(tmp_path, train=1, val=1)
    with pytest.raises(ValueError, match='32 are needed'):
        make_shapes(tmp_path / 'x', size=(16, 64))


@pytest.mark.parametrize('text', ['128', '8x8', 'axb'])
def test_parse_size__bad(text):
    with pytest.raises(ValueError, match='HEIGHTxWIDTH'):
        parse_size(text)
