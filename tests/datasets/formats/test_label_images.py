# SPDX-License-Identifier: Apache-2.0
"""Images are found by their names, or the error says what to do."""

from __future__ import annotations

import unicodedata

import pytest
from label_exports import SIZE, coco, image, labelme, square, write
from PIL import Image
from s4m.datasets.formats import read_labels
from s4m.datasets.formats.image_files import ImageFiles

_ENTRIES = [dict(category_id=3, segmentation=[[10, 20, 20, 20, 20, 30]])]


def _read(folder, name: str, photos=None, **fields):
    data = coco(_ENTRIES, name, **fields)
    return read_labels(write(folder / 'labels/l.json', data), photos)


@pytest.mark.parametrize(
    ('file', 'name'),
    [
        ('a.png', 'a.png'),
        ('my photos/ä ö.png', 'my photos/ä ö.png'),
        ('deep/below/ä ö.png', 'ä ö.png'),
        ('deep/below/a.png', 'elsewhere/a.png'),
        ('sub/a.png', 'sub\\a.png'),
        ('sub/my photo.png', '0a1b2c3d-my_photo.png'),
    ],
)
def test_names(tmp_path, file, name):
    image(tmp_path / 'photos' / file)
    found = _read(tmp_path, name, tmp_path / 'photos')
    assert found.images[0]['file_name'] == file
    assert found.root == tmp_path / 'photos'
    assert (found.root / file).is_file()


@pytest.mark.parametrize(
    ('on_disk', 'in_file'), [('NFD', 'NFC'), ('NFC', 'NFD')]
)
def test_accents__composed_or_not(tmp_path, on_disk, in_file):
    """Macs write ä as two characters."""
    folder = unicodedata.normalize(on_disk, 'Bäume')
    image(
        tmp_path / 'photos' / folder / unicodedata.normalize(on_disk, 'ä.png')
    )
    name = unicodedata.normalize(in_file, 'Bäume/ä.png')
    found = _read(tmp_path, name, tmp_path / 'photos')
    assert (found.root / found.images[0]['file_name']).is_file()


def test_same_names__folders_decide(tmp_path):
    for folder in ('x/one', 'x/two', 'one'):
        image(tmp_path / 'photos' / folder / 'a.png')
    # As written, before anything below.
    found = _read(tmp_path, 'one/a.png', tmp_path / 'photos')
    assert found.images[0]['file_name'] == 'one/a.png'
    found = _read(tmp_path, 'old/two/a.png', tmp_path / 'photos')
    assert found.images[0]['file_name'] == 'x/two/a.png'
    with pytest.raises(ValueError, match=r'may be one/a\.png or x/one/a\.png'):
        _read(tmp_path, 'a.png', tmp_path / 'photos')


def test_one_image_of_two_entries__is_refused(tmp_path):
    image(tmp_path / 'sub/a.png')
    write(tmp_path / 'a.json', labelme([square()], 'a.png'))
    write(tmp_path / 'b.json', labelme([square()], 'sub/a.png'))
    with pytest.raises(ValueError, match=r"'a\.png' and 'sub/a\.png' are"):
        read_labels(tmp_path)


def test_missing_images__with_objects_are_named(tmp_path):
    names = [f'{k}.png' for k in range(6)]
    infos = [
        dict(id=k, file_name=n, height=9, width=9) for k, n in enumerate(names)
    ]
    entries = [
        dict(
            id=k, image_id=k, category_id=3, segmentation=[[1, 1, 5, 1, 5, 5]]
        )
        for k in range(5)
    ]
    image(tmp_path / '0.png', (9, 9))
    data = dict(coco([]), images=infos, annotations=entries)
    file = write(tmp_path / 'l.json', data)
    with pytest.raises(
        FileNotFoundError,
        match=r'4 of 6 images .*: 1.png, 2.png, 3.png \.\.\.',
    ):
        read_labels(file)
    data['annotations'] = entries[:1]
    found = read_labels(write(file, data))
    assert [i['file_name'] for i in found.images] == ['0.png']
    assert 'images without a file or object, left out: 5' in found.notes


def test_folder_of_images__must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'images .*/no does not'):
        _read(tmp_path, 'a.png', tmp_path / 'no')


def test_sizes__of_the_image_where_the_file_has_none(tmp_path):
    image(tmp_path / 'a.png')
    for size in (dict(height=-1, width=-1), dict(height=None, width='')):
        info = dict(id=10, file_name='a.png', **size)
        found = _read(tmp_path, 'a.png', tmp_path, images=[info])
        assert found.images[0]['height'] == SIZE[0]
        assert found.images[0]['width'] == SIZE[1]


def test_sizes__turned_by_exif(tmp_path):
    """MMCV turns such a photo when it is read, and labelme does, too."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image(tmp_path / 'a.jpg', SIZE[::-1], exif=exif)
    found = _read(tmp_path, 'a.jpg', tmp_path)
    assert (found.images[0]['height'], found.images[0]['width']) == SIZE
    turned = dict(id=10, file_name='a.jpg', height=SIZE[1], width=SIZE[0])
    with pytest.raises(ValueError, match=r'120 x 160 .* 160 x 120\. Is it tu'):
        _read(tmp_path, 'a.jpg', tmp_path, images=[turned])


def test_sizes__that_differ_are_counted(tmp_path):
    for name in ('a.png', 'b.png'):
        image(tmp_path / name, (50, 60))
    infos = [
        dict(id=k, file_name=name, height=SIZE[0], width=SIZE[1])
        for k, name in ((10, 'a.png'), (11, 'b.png'))
    ]
    with pytest.raises(ValueError, match=r'a.png is 50 x 60 .* 1 more images'):
        _read(tmp_path, '', tmp_path, images=infos)


def test_stems__as_written_before_others(tmp_path):
    for name in ('images/a.jpg', 'old/images/a.jpg', 'x/b.jpg', 'x/b.png'):
        image(tmp_path / name)
    files = ImageFiles(tmp_path)
    assert files.find_stem('images/a') == tmp_path / 'images/a.jpg'
    assert files.find_stem('c') is None
    with pytest.raises(ValueError, match=r'may be x/b\.jpg or x/b\.png'):
        files.find_stem('x/b')


def test_pictures_of_labels__are_no_images(tmp_path):
    image(tmp_path / 'SegmentationObject/a.png')
    image(tmp_path / 'photos/a.jpg')
    files = ImageFiles(tmp_path)
    assert files.find_stem('a') == tmp_path / 'photos/a.jpg'
    assert files.find('a.png') is None
