# SPDX-License-Identifier: Apache-2.0
"""Files as each annotation tool writes them, and masks drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
from label_exports import (
    FLAT,
    MASKS,
    SIZE,
    SQUARE,
    coco,
    cvat,
    disc,
    image,
    iou,
    is_square,
    labelme,
    masks,
    png,
    square,
    square_mask,
    write,
)
from pycocotools import mask as mask_utils
from s4m.datasets.formats import read_labels


@pytest.fixture
def folder(tmp_path):
    """A folder with one image."""
    image(tmp_path / 'a.png')
    return tmp_path


# ---------------------------------------------------------------------- COCO
def test_coco__order_ids_and_fields(folder):
    rle = mask_utils.encode(np.asfortranarray(MASKS[1], np.uint8))
    rle['counts'] = rle['counts'].decode()
    # Columns from the top: 10 pixels of each of 10 columns are inside.
    runs = [20 + 10 * SIZE[0], *[10, SIZE[0] - 10] * 9, 10]
    runs.append(SIZE[0] * SIZE[1] - sum(runs))
    counts = dict(size=list(SIZE), counts=runs)
    entries = [
        dict(category_id=3, segmentation=[FLAT], score=0.5),
        dict(category_id=7, segmentation=rle, iscrowd=1),
        dict(category_id=3, segmentation=counts),
        dict(category_id=3, segmentation=[], bbox=[1, 1, 5, 5]),
        dict(category_id=3, keypoints=[1, 1, 2]),
    ]
    write(folder / 'labels.json', coco(entries))
    found = read_labels(folder / 'labels.json')
    assert found.format == 'coco' and found.root == folder
    assert found.images == [
        dict(id=1, file_name='a.png', height=SIZE[0], width=SIZE[1])
    ]
    assert [c['name'] for c in found.categories] == ['pear', 'apple']
    assert [a['id'] for a in found.annotations] == [1, 2, 3]
    assert [a['category_id'] for a in found.annotations] == [2, 1, 2]
    first, second, third = found.annotations
    assert first['bbox'] == [10, 20, 10, 10] and first['area'] == 100
    assert first['score'] == 0.5 and first['iscrowd'] == 0
    assert second['iscrowd'] == 1
    assert isinstance(third['segmentation']['counts'], str)
    drawn = [mask for _, mask in masks(found)['a.png']]
    np.testing.assert_array_equal(drawn[0], square_mask())
    np.testing.assert_array_equal(drawn[1], MASKS[1])
    np.testing.assert_array_equal(drawn[2], square_mask())
    assert found.notes == [
        'crowds (iscrowd 1), which training leaves out: 1',
        'boxes without a mask, left out: 1',
        'keypoints without a mask, left out: 1',
    ]


def test_coco__file_in_annotations_folder(folder):
    """As CVAT and COCO have it: images/ is beside annotations/."""
    image(folder / 'images/b.png')
    entries = [dict(category_id=3, segmentation=[FLAT])]
    file = write(folder / 'annotations/i.json', coco(entries, 'b.png'))
    assert read_labels(file).images[0]['file_name'] == 'images/b.png'
    assert is_square(read_labels(folder))


# ------------------------------------------------------------------- labelme
def test_labelme__shapes(folder):
    ring = MASKS[1][10:80, 60:140]
    shapes = [
        square(),
        dict(label='pear', points=[[50, 60], [62, 65]], shape_type='circle'),
        dict(
            label='pear',
            points=[[60, 10], [139, 79]],
            shape_type='mask',
            mask=png(ring),
        ),
        square(group_id=4),
        square(group_id=4, points=[[40, 20], [50, 20], [50, 30], [40, 30]]),
        square(group_id=4, label='pear'),
        dict(label='apple', points=[[1, 1], [9, 9]], shape_type='rectangle'),
        dict(label='apple', points=[[1, 1]], shape_type='point'),
        square(label='__ignore__'),
    ]
    write(folder / 'a.json', labelme(shapes))
    found = read_labels(folder)
    assert found.format == 'labelme'
    assert [c['name'] for c in found.categories] == ['apple', 'pear']
    drawn = masks(found)['a.png']
    names = [name for name, _ in drawn]
    assert names == ['apple', 'pear', 'pear', 'apple', 'pear']
    np.testing.assert_array_equal(drawn[0][1], square_mask())
    assert iou(drawn[1][1], disc(50, 60, 13)) > 0.98
    np.testing.assert_array_equal(drawn[2][1], MASKS[1])
    both = square_mask()
    both[20:30, 40:50] = True
    np.testing.assert_array_equal(drawn[3][1], both)
    assert found.notes == [
        'boxes without a mask, left out: 1',
        'points, left out: 1',
        'shapes of the label __ignore__, left out: 1',
    ]


def test_labelme__images_beside_or_elsewhere(tmp_path):
    image(tmp_path / 'photos/a.png')
    image(tmp_path / 'labels/sub/b.png')
    shapes = [square()]
    write(tmp_path / 'labels/a.json', labelme(shapes, '..\\photos\\a.png'))
    write(tmp_path / 'labels/sub/b.json', labelme(shapes, 'b.png'))
    found = read_labels(tmp_path / 'labels')
    assert found.root == tmp_path
    assert [i['file_name'] for i in found.images] == [
        'photos/a.png',
        'labels/sub/b.png',
    ]
    one = read_labels(tmp_path / 'labels/a.json', tmp_path / 'photos')
    assert one.images[0]['file_name'] == 'a.png' and is_square(one)


# ---------------------------------------------------------------------- YOLO
_LINE = ' '.join(f'{x / SIZE[1]:.8f} {y / SIZE[0]:.8f}' for x, y in SQUARE)


@pytest.mark.parametrize(
    'names', ['names: [pear, apple]', 'names: {0: pear, 1: apple}']
)
def test_yolo__splits_and_sub_folders(tmp_path, names):
    for name in ('train/x/a', 'val/x/a'):
        image(tmp_path / f'images/{name}.jpg')
    image(tmp_path / 'images/train/empty.v2.png')
    write(tmp_path / 'data.yaml', f'train: images/train\nnc: 2\n{names}\n')
    box = '1 0.5 0.5 0.2 0.2\n'
    write(tmp_path / 'labels/train/x/a.txt', f'1 {_LINE}\n\n{box}')
    write(tmp_path / 'labels/val/x/a.txt', f'0 {_LINE}')
    write(tmp_path / 'labels/train/empty.v2.txt', '')
    found = read_labels(tmp_path)
    assert found.format == 'yolo'
    assert [c['name'] for c in found.categories] == ['pear', 'apple']
    drawn = masks(found)
    assert list(drawn) == [
        'images/train/empty.v2.png',
        'images/train/x/a.jpg',
        'images/val/x/a.jpg',
    ]
    assert [name for name, _ in drawn['images/val/x/a.jpg']] == ['pear']
    assert found.notes == [
        'boxes without a mask, left out: 1',
        'images without an object: 1',
    ]
    split = read_labels(tmp_path / 'labels/val')
    assert list(masks(split)) == ['images/val/x/a.jpg']


def test_yolo__roboflow_and_label_studio_layouts(tmp_path):
    one, two = tmp_path / 'roboflow', tmp_path / 'studio'
    image(one / 'train/images/a.jpg')
    write(one / 'train/labels/a.txt', f'0 {_LINE}')
    write(one / 'data.yaml', 'train: ../train/images\nnames: [apple]\n')
    write(one / 'README.dataset.txt', 'made by hand')
    image(two / 'images/a.jpg')
    write(two / 'labels/a.txt', f'0 {_LINE}')
    write(two / 'classes.txt', 'apple\n')
    write(two / 'notes.json', dict(categories=[], info={}))
    assert is_square(read_labels(one))
    assert is_square(read_labels(two))
    assert is_square(read_labels(one / 'data.yaml', one))


# ---------------------------------------------------------------------- CVAT
def test_cvat__shapes(folder):
    points = ';'.join(f'{x:.2f},{y:.2f}' for x, y in SQUARE)
    text = cvat(f"""
    <mask label="pear" source="manual" occluded="0" rle="1, 2, 3, 1, 2"
        left="5" top="7" width="3" height="3" z_order="0"></mask>
    <polygon label="apple" points="{points}" occluded="0"/>
    <ellipse label="apple" cx="80" cy="60" rx="30" ry="15" rotation="90"/>
    <polygon label="apple" group_id="2" points="{points}"/>
    <polygon label="apple" group_id="2" points="40,20;50,20;50,30;40,30"/>
    <box label="apple" xtl="1" ytl="1" xbr="5" ybr="5"/>
    <points label="apple" points="1,1"/>
    """)
    write(folder / 'annotations.xml', text)
    found = read_labels(folder)
    assert found.format == 'cvat'
    assert [c['name'] for c in found.categories] == ['pear', 'apple']
    (pear, mask), *apples = masks(found)['a.png']
    # Row by row: 1 outside, 2 inside, 3 outside, 1 inside, 2 outside.
    assert pear == 'pear'
    assert np.argwhere(mask).tolist() == [[7, 6], [7, 7], [9, 5]]
    np.testing.assert_array_equal(apples[0][1], square_mask())
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    turned = ((xs - 80) / 15) ** 2 + ((ys - 60) / 30) ** 2 <= 1
    assert iou(apples[1][1], turned) > 0.98
    assert apples[2][1].sum() == 200 and len(apples) == 3
    assert found.notes == [
        'boxes without a mask, left out: 1',
        'points, left out: 1',
    ]
