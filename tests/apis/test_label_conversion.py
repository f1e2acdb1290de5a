# SPDX-License-Identifier: Apache-2.0
"""Labels of one tool for another one."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from s4m.apis.label_conversion import convert_labels


@pytest.fixture
def source(tmp_path):
    """A file of VIA, with a box, and its image elsewhere."""
    (tmp_path / 'photos').mkdir()
    Image.new('RGB', (60, 40)).save(tmp_path / 'photos/a b.png')
    polygon = dict(
        name='polygon', all_points_x=[5, 25, 25], all_points_y=[5, 5, 20]
    )
    box = dict(name='rect', x=1, y=1, width=5, height=5)
    regions = [
        dict(shape_attributes=s, region_attributes=dict(fruit='apple'))
        for s in (polygon, box)
    ]
    entry = dict(filename='a b.png', size=-1, regions=regions)
    file = tmp_path / 'via.json'
    file.write_text(json.dumps({'a b.png-1': entry}))
    return file


def test_convert__says_what_was_lost(source, tmp_path, capsys):
    out = convert_labels(
        source,
        tmp_path / 'out/apples.json',
        format='coco',
        images=tmp_path / 'photos',
    )
    assert out == tmp_path / 'out/apples.json'
    assert capsys.readouterr().out.splitlines() == [
        '  boxes without a mask, left out: 1',
        f'{out}: 1 objects in 1 images, read as via',
    ]
    data = json.loads(out.read_text())
    assert data['images'] == [
        dict(id=1, file_name='a b.png', height=40, width=60)
    ]
    assert data['annotations'][0]['segmentation'] == [[5, 5, 25, 5, 25, 20]]


def test_convert__keeps_the_source(source):
    before = source.read_bytes()
    with pytest.raises(FileExistsError, match=r'via\.json exists already'):
        convert_labels(source, source, format='coco')
    assert source.read_bytes() == before
