# SPDX-License-Identifier: Apache-2.0
"""Folders of labels, and what is left out or cut off."""

from __future__ import annotations

import numpy as np
import pytest
from label_exports import (
    MASKS,
    SIZE,
    coco,
    image,
    labelme,
    masks,
    png,
    square,
    triangle,
    write,
)
from s4m.datasets.coco_io import encode_masks
from s4m.datasets.formats import read_labels


def test_folders__without_or_with_too_many_labels(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'The labels .*no do not'):
        read_labels(tmp_path / 'no')
    with pytest.raises(ValueError, match=r'has no labels\. COCO, labelme,'):
        read_labels(tmp_path)
    image(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=r'has no labels\. COCO, labelme,'):
        read_labels(tmp_path)
    write(tmp_path / 'x.json', '{')
    with pytest.raises(ValueError, match=r'x\.json is not a JSON file'):
        read_labels(tmp_path)
    write(tmp_path / 'train.json', coco([triangle()]))
    write(tmp_path / 'val.json', coco([triangle()]))
    with pytest.raises(ValueError, match=r'train.json and val.json: name one'):
        read_labels(tmp_path)


def test_format__is_forced(tmp_path):
    """In a folder with labels of two tools, the wanted ones are read."""
    image(tmp_path / 'a.png')
    write(tmp_path / 'a.json', labelme([square()]))
    write(tmp_path / 'classes.txt', 'apple')
    write(tmp_path / 'a.txt', '0 0.1 0.1 0.5 0.1 0.5 0.5')
    file = write(tmp_path / 'labels.json', coco([triangle()]))
    assert read_labels(tmp_path).format == 'labelme'
    assert read_labels(tmp_path, format='yolo').format == 'yolo'
    assert read_labels(file, format='coco').format == 'coco'
    with pytest.raises(ValueError, match='has the format coco, not via'):
        read_labels(file, format='via')
    with pytest.raises(ValueError, match="'xyz' is unknown: choose one of"):
        read_labels(file, format='xyz')


def test_notes__what_is_cut_or_dropped(tmp_path):
    image(tmp_path / 'a.png')
    (empty,) = encode_masks(np.zeros((1, *SIZE), bool))
    entries = [
        triangle(segmentation=[[-50, 20, 50, 20, 50, 60, -50, 60]]),
        triangle(segmentation=[[-0.2, 20, 50, 20, 50, 60, -0.2, 60]]),
        triangle(segmentation=[[500, 20, 550, 20, 550, 60]]),
        triangle(segmentation=[[5, 5, 50, 50, 5, 5]]),
        triangle(segmentation=empty),
    ]
    found = read_labels(write(tmp_path / 'l.json', coco(entries)))
    assert [a['bbox'] for a in found.annotations] == [[0, 20, 50, 40]] * 2
    for entry in found.annotations:
        assert min(entry['segmentation'][0]) >= 0 and entry['area'] == 2000
    assert found.notes == [
        'polygons cut off at the border of their image: 2',
        'polygons without a pixel inside their image, left out: 2',
        'empty masks left out: 1',
        'classes without an object (pear): 1',
    ]


def test_labelme_mask__beyond_the_border(tmp_path):
    image(tmp_path / 'a.png')
    ring = MASKS[1][10:80, 60:140]
    points = [[120, -5], [199, 64]]
    shape = square(shape_type='mask', points=points, mask=png(ring))
    write(tmp_path / 'a.json', labelme([shape]))
    ((_, mask),) = masks(read_labels(tmp_path))['a.png']
    wanted = np.zeros_like(mask)
    wanted[:65, 120:] = ring[5:, :40]
    np.testing.assert_array_equal(mask, wanted)
