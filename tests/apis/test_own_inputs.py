# SPDX-License-Identifier: Apache-2.0
"""Labelled, unlabelled and validation images of a person."""

import json

import cv2
import numpy as np
import pytest
from s4m.apis.own_data.inputs import read_inputs

SQUARE = [[2, 2, 8, 2, 8, 8, 2, 8]]


def write(folder, names, objects=1, classes=('apple',), ann=None):
    """Images and a COCO file that labels those in ``ann``."""
    (folder / 'photos').mkdir(parents=True, exist_ok=True)
    for name in names:
        file = folder / 'photos' / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.full((20, 30, 3), 90, np.uint8))
    labelled = names if ann is None else ann
    images = [
        dict(id=i, file_name=name, height=20, width=30)
        for i, name in enumerate(labelled, 1)
    ]
    annotations = [
        dict(
            id=1 + k + objects * i,
            image_id=i + 1,
            category_id=1 + (k + i) % len(classes),
            segmentation=SQUARE,
            bbox=[2, 2, 6, 6],
            area=36,
            iscrowd=0,
        )
        for i in range(len(labelled))
        for k in range(objects)
    ]
    categories = [dict(id=i, name=n) for i, n in enumerate(classes, 1)]
    file = folder / 'labels.json'
    file.write_text(
        json.dumps(
            dict(images=images, annotations=annotations, categories=categories)
        )
    )
    return file, folder / 'photos'


def names(number, start=0):
    return [f'{i:02d}.png' for i in range(start, start + number)]


def test_the_other_images_of_the_folder_are_unlabelled(tmp_path):
    file, photos = write(tmp_path, names(12), ann=names(8))
    own = read_inputs(file, photos)
    held = {i['file_name'] for i in own.validation['images']}
    kept = {i['file_name'] for i in own.labeled['images']}
    assert len(held) == 3 and held | kept == set(names(8))
    files = [i['file_name'] for i in own.unlabeled['images']]
    assert files == names(4, 8) and own.unlabeled_root == photos
    assert [i['height'] for i in own.unlabeled['images']] == [20] * 4
    assert any('held out' in note for note in own.notes)


def test_few_labels_are_all_trained_on(tmp_path):
    file, photos = write(tmp_path, names(5))
    own = read_inputs(file, photos)
    assert len(own.labeled['images']) == 5 and not own.validation['images']
    assert any('no AP is reported' in note for note in own.notes)


def test_validation_images_are_not_unlabelled_ones(tmp_path):
    file, photos = write(tmp_path / 'a', names(4))
    val, _ = write(tmp_path / 'b', names(3, 50))
    own = read_inputs(file, photos, tmp_path / 'b' / 'photos', val)
    assert len(own.validation['images']) == 3
    assert not own.unlabeled['images']
    assert any('left out' in note for note in own.notes)


def test_labelled_and_validation_images_may_not_overlap(tmp_path):
    file, photos = write(tmp_path, names(4))
    with pytest.raises(ValueError, match=r'4 images are in .*00.png'):
        read_inputs(file, photos, val=file)


def test_validation_classes_are_matched_by_name(tmp_path):
    file, photos = write(tmp_path / 'a', names(4), 2, ('apple', 'pear'))
    val, _ = write(tmp_path / 'b', names(3, 50), 3, ('pear', 'x', 'apple'))
    own = read_inputs(file, photos, val=val)
    ids = {c['name']: c['id'] for c in own.labeled['categories']}
    kinds = [a['category_id'] for a in own.validation['annotations']]
    assert sorted(kinds) == sorted([ids['pear'], ids['apple']] * 3)
    assert any("['x'] are left out" in note for note in own.notes)
    other, _ = write(tmp_path / 'c', names(3, 70), 1, ('dog',))
    with pytest.raises(ValueError, match=r"'dog'.*'apple'"):
        read_inputs(file, photos, val=other)


def test_labelled_images_without_an_object_are_unlabelled(tmp_path):
    file, photos = write(tmp_path, names(4))
    data = json.loads(file.read_text())
    data['annotations'] = data['annotations'][:3]
    file.write_text(json.dumps(data))
    own = read_inputs(file, photos)
    assert len(own.labeled['images']) == 3
    assert [i['file_name'] for i in own.unlabeled['images']] == ['03.png']
    data['annotations'] = []
    file.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r'labels.json'):
        read_inputs(file, photos)


def test_a_list_of_images(tmp_path):
    file, photos = write(tmp_path, names(6), ann=names(4))
    listed = tmp_path / 'more.txt'
    listed.write_text('photos/04.png\n\nphotos/05.png\n')
    own = read_inputs(file, photos, listed)
    assert len(own.unlabeled['images']) == 2
    listed.write_text('photos/nix.png\n')
    with pytest.raises(FileNotFoundError, match=r'names 1 files .*nix.png'):
        read_inputs(file, photos, listed)
    with pytest.raises(ValueError, match='name the folder of the images'):
        read_inputs(file, photos, file)
    with pytest.raises(FileNotFoundError, match='neither a folder nor a list'):
        read_inputs(file, photos, tmp_path / 'nowhere')


def test_a_class_without_an_object_is_left_out(tmp_path):
    file, photos = write(tmp_path, names(4), 1, ('apple', 'pear'))
    data = json.loads(file.read_text())
    for a in data['annotations']:
        a['category_id'] = 2
    file.write_text(json.dumps(data))
    own = read_inputs(file, photos)
    assert own.classes == ('pear',)
    assert any('left out: apple' in note for note in own.notes)


def test_an_empty_folder_of_unlabelled_images(tmp_path):
    file, photos = write(tmp_path, names(4))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='No image at'):
        read_inputs(file, photos, tmp_path / 'empty')


def test_written_files_are_what_was_read(tmp_path):
    file, photos = write(tmp_path, ['sub dir/ä.png', *names(6)])
    own = read_inputs(file, photos)
    own.write(tmp_path / 'data')
    made = sorted(f.name for f in (tmp_path / 'data').iterdir())
    assert made == ['labeled.json', 'val.json']
    every = [
        i['file_name']
        for f in made
        for i in json.loads((tmp_path / 'data' / f).read_text())['images']
    ]
    assert sorted(every) == sorted(['sub dir/ä.png', *names(6)])
    assert all((own.labeled_root / name).is_file() for name in every)
