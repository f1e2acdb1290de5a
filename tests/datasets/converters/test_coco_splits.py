# SPDX-License-Identifier: Apache-2.0
"""Labelled and unlabelled parts of COCO files."""

from __future__ import annotations

import json

import pytest
from s4m.datasets.converters.coco_splits import (
    Splitter,
    draw,
    load_coco,
    make_splits,
    read_list,
)


def _coco(num: int = 40) -> dict:
    """Image i (id 100 - i) has i % 3 annotations; image 0 a crowd."""
    images = [
        dict(id=100 - i, file_name=f'{i}.jpg', height=8, width=8)
        for i in range(num)
    ]
    annotations = [
        dict(
            id=10 * i + k + 1,
            image_id=100 - i,
            category_id=3 + 4 * (k % 2),
            bbox=[0, 0, 4, 4],
            area=16,
            iscrowd=0,
        )
        for i in range(num)
        for k in range(i % 3)
    ]
    annotations.append(
        dict(id=999, image_id=100, category_id=3, iscrowd=1, area=1)
    )
    names = dict(cat=3, dog=7)
    return dict(
        info=dict(year=2017),
        images=images,
        annotations=annotations,
        categories=[dict(id=v, name=k) for k, v in names.items()],
    )


@pytest.fixture
def root(tmp_path):
    """A data root in COCO's layout."""
    (tmp_path / 'annotations').mkdir()
    path = tmp_path / 'annotations/instances_train2017.json'
    path.write_text(json.dumps(_coco()))
    return tmp_path


def test_draw__seeded_without_replacement():
    ids = [f'img{i}' for i in range(200)]
    chosen = draw(ids, 10, 3)
    assert len(chosen) == 20
    assert chosen == draw(list(reversed(ids)), 10, 3)
    assert chosen != draw(ids, 10, 4)


@pytest.mark.parametrize(
    ('percent', 'num'), [(1, 1182), (2, 2365), (5, 5914), (10, 11828)]
)
def test_draw__sizes_of_the_papers(percent, num):
    assert len(draw(list(range(118287)), percent, 1)) == num


def test_splitter__parts_are_the_whole():
    data = _coco()
    splitter = Splitter(data)
    chosen = {100, 99, 98, 70}
    part, rest = splitter.labeled(chosen), splitter.unlabeled(chosen)
    assert [i['id'] for i in part['images']] == [100, 99, 98, 70]
    want = [a for a in data['annotations'] if a['image_id'] in chosen]
    assert sorted(a['id'] for a in part['annotations']) == sorted(
        a['id'] for a in want
    )
    assert rest['annotations'] == []
    assert {i['id'] for i in rest['images']} == (
        {i['id'] for i in data['images']} - chosen
    )
    assert splitter.unlabeled()['images'] == data['images']
    assert part['info'] == data['info']
    assert part['categories'] == rest['categories'] == data['categories']


def test_files__mmdet_names_and_same_bytes(root):
    extra = dict(images=[dict(id=1, file_name='u.jpg', height=4, width=4)])
    (root / 'annotations/unlabeled.json').write_text(json.dumps(extra))
    args = dict(percent=[10, 25, 100], fold=[1, 2])
    make_splits(root, **args, extra='annotations/unlabeled.json')
    folder = root / 'semi_anns'
    made = {p.name: p.read_bytes() for p in folder.iterdir()}
    stems = [f'instances_train2017.{f}@{p}' for f in (1, 2) for p in (10, 25)]
    assert set(made) == {
        *(f'{s}.json' for s in stems),
        *(f'{s}-unlabeled.json' for s in stems),
        'instances_train2017.1@100.json',
        'instances_train2017.2@100.json',
        'instances_train2017.all-unlabeled.json',
        'unlabeled.json',
    }
    assert len(json.loads(made[f'{stems[0]}.json'])['images']) == 4
    extra = json.loads(made['unlabeled.json'])
    assert extra['categories'] == _coco()['categories']
    make_splits(root, **args, extra='annotations/unlabeled.json')
    assert made == {p.name: p.read_bytes() for p in folder.iterdir()}


def test_files__classes(root):
    make_splits(root, percent=[50], classes=['dog'])
    path = root / 'semi_anns/instances_train2017.1@50.json'
    data = json.loads(path.read_text())
    assert data['categories'] == [dict(id=7, name='dog')]
    assert {a['category_id'] for a in data['annotations']} == {7}


def test_list__three_kinds(tmp_path):
    data = _coco()
    path = tmp_path / 'COCO_supervision.txt'
    path.write_text(json.dumps({'1.0': {'0': [0, 5]}, '10.0': {'0': [61]}}))
    ids = sorted(i['id'] for i in data['images'])
    assert read_list(path, data, 1, 0, 'indices') == {ids[0], ids[5]}
    shown = [i for i in ids if (100 - i) % 3]
    assert read_list(path, data, 1, 0, 'annotated') == {shown[0], shown[5]}
    assert read_list(path, data, 10, 0, 'ids') == {61}
    with pytest.raises(ValueError, match=r'index 61 is not in 0\.\.39'):
        read_list(path, data, 10, 0, 'indices')
    with pytest.raises(ValueError, match='no image has the id 0'):
        read_list(path, data, 1, 0, 'ids')
    with pytest.raises(ValueError, match='has no fold 3'):
        read_list(path, data, 10, 3, 'ids')
    with pytest.raises(ValueError, match='has no 7 %'):
        read_list(path, data, 7, 0, 'ids')
    path.write_text('[61, 62]')
    assert read_list(path, data, 10, 0, 'ids') == {61, 62}


@pytest.mark.parametrize(
    ('change', 'args', 'message'),
    [
        (lambda d: None, dict(classes=['bird']), r"no category \['bird'\]"),
        (lambda d: d['images'][1].update(id=100), {}, 'with the id 100'),
        (lambda d: d.pop('images'), {}, "no list 'images'"),
        (lambda d: d['images'].clear(), {}, 'has no image'),
        (lambda d: d['annotations'].clear(), {}, 'No annotation'),
        (lambda d: None, dict(ann='no.json'), r'no\.json does not exist'),
        (lambda d: None, dict(percent=[0]), r'not in \(0, 100\]'),
    ],
)
def test_bad_input__no_part_is_written(root, change, args, message):
    data = _coco()
    change(data)
    path = root / 'annotations/instances_train2017.json'
    path.write_text(json.dumps(data))
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        make_splits(root, **dict(percent=[10]) | args)
    assert not list(root.glob('semi_anns/*@*'))


def test_load_coco__damaged(tmp_path):
    path = tmp_path / 'x.json'
    path.write_text('{"images": [')
    with pytest.raises(ValueError, match=r'x\.json is not a JSON file'):
        load_coco(path)
