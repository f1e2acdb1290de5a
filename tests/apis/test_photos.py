# SPDX-License-Identifier: Apache-2.0
"""A person's images: by folder, file or pattern, and some are broken."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from s4m.apis.photos import (
    Photo,
    Photos,
    check_new,
    common_folder,
    describe_photos,
    find_photos,
)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images a.png, x/a.png, x/y/b.jpg and two broken ones."""
    rng = np.random.default_rng(0)
    for name in ('a.png', 'x/a.png', 'x/y/b.jpg'):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), rng.integers(0, 255, (20, 30, 3), np.uint8))
    whole = (tmp_path / 'a.png').read_bytes()
    (tmp_path / 'x/cut.png').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'x/text.png').write_text('no image')
    return tmp_path


def test_find_photos(folder):
    def names(what):
        return [f.relative_to(folder).as_posix() for f in find_photos(what)]

    every = ['a.png', 'x/a.png', 'x/cut.png', 'x/text.png', 'x/y/b.jpg']
    assert names(folder) == every
    assert names(str(folder / 'x/a.png')) == ['x/a.png']
    assert names(f'{folder}/*.png') == ['a.png']
    assert names(f'{folder}/**/a.png') == ['a.png', 'x/a.png']
    # Each once, in the order in which they are named.
    two = [folder / 'x/y', f'{folder}/x/../x/y/*.jpg', folder / 'a.png']
    assert names(two) == ['x/y/b.jpg', 'a.png']
    # A folder with the characters of a pattern.
    (folder / 'x').rename(folder / 'x[1]')
    assert names(folder / 'x[1]/y') == ['x[1]/y/b.jpg']


@pytest.mark.parametrize(
    'what, word',
    [('none', 'does not exist'), ('*.bmp', 'No image fits'), ([], 'named')],
)
def test_find_photos__none(folder, what, word):
    what = what if isinstance(what, list) else f'{folder}/{what}'
    with pytest.raises(FileNotFoundError, match=word):
        find_photos(what)


def test_describe__broken_are_left_out(folder):
    files = find_photos(folder)
    entries, broken = describe_photos(files, common_folder(files))
    assert [f.name for f in broken] == ['cut.png', 'text.png']
    assert entries == [
        dict(id=1, file_name='a.png', height=20, width=30),
        dict(id=2, file_name='x/a.png', height=20, width=30),
        dict(id=3, file_name='x/y/b.jpg', height=20, width=30),
    ]


def test_photos__broken_one_is_its_name(folder):
    files = find_photos(folder)
    photos = Photos(
        files, [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]
    )
    items = [photos[k] for k in range(len(photos))]
    assert [f for f in items if isinstance(f, Path)] == files[2:4]
    assert isinstance(items[0], Photo)
    assert np.array_equal(items[0].pixels, cv2.imread(str(files[0])))


def test_check_new(tmp_path):
    assert check_new(tmp_path / 'new') == tmp_path / 'new'
    (tmp_path / 'empty').mkdir()
    check_new(tmp_path / 'empty')
    (tmp_path / 'empty/file').touch()
    for place in ('empty', 'empty/file'):
        with pytest.raises(FileExistsError, match='--out'):
            check_new(tmp_path / place)
