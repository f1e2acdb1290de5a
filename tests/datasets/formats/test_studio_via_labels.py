# SPDX-License-Identifier: Apache-2.0
"""Label Studio's exports, and VIA's, with masks drawn by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from label_exports import (
    SIZE,
    SQUARE,
    disc,
    image,
    iou,
    is_square,
    masks,
    region,
    square_mask,
    task,
    via,
    write,
)
from s4m.datasets.formats import read_labels


@pytest.fixture
def folder(tmp_path):
    """A folder with one image."""
    image(tmp_path / 'a.png')
    return tmp_path


def test_label_studio__shapes(folder):
    points = [[x / SIZE[1] * 100, y / SIZE[0] * 100] for x, y in SQUARE]
    polygon = dict(points=points, closed=True)
    oval = dict(x=50, y=50, radiusX=25, radiusY=10, rotation=90)
    box = dict(x=1, y=1, width=5, height=5, rotation=0)
    result = [
        dict(
            type='polygonlabels', value=polygon | dict(polygonlabels=['pear'])
        ),
        dict(type='ellipselabels', value=oval | dict(ellipselabels=['apple'])),
        dict(
            type='rectanglelabels', value=box | dict(rectanglelabels=['pear'])
        ),
        # Separate tags for shape and label: two entries with one id.
        dict(id='x', type='polygon', value=polygon),
        dict(id='x', type='labels', value=polygon | dict(labels=['apple'])),
        dict(type='choices', value=dict(choices=['good'])),
    ]
    skipped = task([], 'c.png', annotations=[dict(was_cancelled=True)])
    write(folder / 'export.json', [task(result), skipped])
    found = read_labels(folder / 'export.json')
    assert found.format == 'labelstudio'
    assert [c['name'] for c in found.categories] == ['apple', 'pear']
    first, oval, apple = masks(found)['a.png']
    assert first[0] == 'pear'
    np.testing.assert_array_equal(first[1], square_mask())
    assert (apple[0], apple[1].sum()) == ('apple', 100)
    # Shares of the width and of the height, turned in pixels.
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    turned = ((xs - 80) / 12) ** 2 + ((ys - 60) / 40) ** 2 <= 1
    assert iou(oval[1], turned) > 0.98
    assert found.notes == [
        'boxes without a mask, left out: 1',
        'choices, left out: 1',
        'tasks without an annotation, left out: 1',
    ]


def test_label_studio__several_annotations(folder):
    """The one that is marked as true, or the last one."""
    points = [[x / SIZE[1] * 100, y / SIZE[0] * 100] for x, y in SQUARE]
    annotations = [
        dict(
            result=[
                dict(
                    id=name,
                    type='polygonlabels',
                    to_name='photo',
                    value=dict(points=points, polygonlabels=[name]),
                )
            ],
            ground_truth=name == 'true',
        )
        for name in ('first', 'true', 'last')
    ]
    entry = dict(annotations=annotations, data=dict(n=3, photo='/x/a.png'))
    labels = read_labels(write(folder / 'export.json', [entry]))
    assert [c['name'] for c in labels.categories] == ['true']
    assert labels.notes == [
        'tasks with several annotations, of which one is read: 1'
    ]
    del annotations[1], entry['data']['n']
    for annotation in annotations:
        annotation['result'][0]['to_name'] = 'other'
    labels = read_labels(write(folder / 'export.json', [entry]))
    assert [c['name'] for c in labels.categories] == ['last']
    entry['data']['text'] = 'more'
    with pytest.raises(ValueError, match="task 0 has no 'image' in its data"):
        read_labels(write(folder / 'export.json', [entry]))


@pytest.mark.parametrize(
    ('address', 'file'),
    [
        ('/data/upload/1/0a1b2c3d-my_photo_1.png', 'x/my photo 1.png'),
        ('/data/local-files/?d=x/%C3%A4%20b.png', 'x/ä b.png'),
        ('s3://bucket/x/a.png', 'x/a.png'),
        ('https://host/x/a.png?token=1', 'x/a.png'),
    ],
)
def test_label_studio__addresses(tmp_path, address, file):
    image(tmp_path / file)
    points = [[x / SIZE[1] * 100, y / SIZE[0] * 100] for x, y in SQUARE]
    value = dict(points=points, polygonlabels=['apple'])
    entry = task(
        [dict(type='polygonlabels', value=value)],
        data=dict(image=address),
        file_upload=None,
    )
    write(tmp_path / 'export.json', [entry])
    found = read_labels(tmp_path / 'export.json')
    assert found.images[0]['file_name'] == file and is_square(found)


_POLYGON = dict(
    name='polygon',
    all_points_x=[x for x, _ in SQUARE],
    all_points_y=[y for _, y in SQUARE],
)


def test_via__exported_regions(folder):
    oval = dict(name='ellipse', cx=80, cy=60, rx=30, ry=15, theta=math.pi / 2)
    regions = [
        region(_POLYGON, fruit='pear'),
        region(dict(name='circle', cx=50, cy=60, r=13), fruit='apple'),
        region(oval, fruit='apple'),
        region(dict(name='rect', x=1, y=1, width=5, height=5), fruit='pear'),
        region(dict(name='point', cx=1, cy=1), fruit='pear'),
    ]
    file = write(folder / 'via.json', via(regions))
    found = read_labels(file)
    assert found.format == 'via'
    assert [c['name'] for c in found.categories] == ['apple', 'pear']
    first, circle, ellipse = (mask for _, mask in masks(found)['a.png'])
    np.testing.assert_array_equal(first, square_mask())
    assert iou(circle, disc(50, 60, 13)) > 0.98
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    turned = ((xs - 80) / 15) ** 2 + ((ys - 60) / 30) ** 2 <= 1
    assert iou(ellipse, turned) > 0.98
    assert found.notes == [
        'boxes without a mask, left out: 1',
        'points, left out: 1',
    ]


def test_via__project_and_version_1(folder):
    ticked = {'pear': False, 'apple': True}
    regions = [region(_POLYGON, ripe='yes', Class=ticked)]
    options = dict(pear='', apple='')
    project = dict(
        _via_settings={},
        _via_img_metadata=via(regions),
        _via_attributes=dict(region={'Class': dict(options=options)}, file={}),
        _via_data_format_version='2.0.10',
        _via_image_id_list=['a.png99'],
    )
    found = read_labels(write(folder / 'project.json', project))
    assert [c['name'] for c in found.categories] == ['pear', 'apple']
    assert is_square(found)
    assert found.notes == ['classes without an object (pear): 1']
    old = via([])
    old['a.png99']['regions'] = {'0': region(_POLYGON, name='apple')}
    assert is_square(read_labels(write(folder / 'v1.json', old)))
    plain = read_labels(write(folder / 'p.json', via([region(_POLYGON)])))
    assert [c['name'] for c in plain.categories] == ['object']
    assert plain.notes == ["regions without a class, called 'object': 1"]
