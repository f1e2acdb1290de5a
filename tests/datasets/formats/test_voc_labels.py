# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC's pictures of objects and classes."""

from __future__ import annotations

import numpy as np
import pytest
from label_exports import (
    MASKS,
    SIZE,
    disc,
    image,
    masks,
    write,
)
from PIL import Image
from s4m.datasets.formats import read_labels
from s4m.datasets.formats.voc import PALETTE


@pytest.fixture
def folder(tmp_path):
    """A folder with one image."""
    image(tmp_path / 'a.png')
    return tmp_path


def _picture(path, indices: np.ndarray, mode: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(indices.astype(np.uint8))
    if mode == 'palette':
        picture.putpalette(PALETTE.ravel().tolist())
    elif mode == 'colours':
        picture = Image.fromarray(PALETTE[indices])
    picture.save(path)


_XML = """<annotation><folder>VOC</folder><filename>a b.jpg</filename>
<size><width>{1}</width><height>{0}</height><depth>3</depth></size>
<segmented>1</segmented>
<object><name>pear</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax>
<ymax>3</ymax></bndbox></object>
<object><name>apple</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax>
<ymax>3</ymax></bndbox></object></annotation>"""


def test_voc__palette():
    """The first colours of the VOC 2012 development kit."""
    assert PALETTE[:4].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
    ]
    assert PALETTE[255].tolist() == [224, 224, 192]


@pytest.mark.parametrize('mode', ['palette', 'colours', 'grey'])
@pytest.mark.parametrize('with_map', [True, False])
def test_voc__objects_and_classes(tmp_path, mode, with_map):
    image(tmp_path / 'JPEGImages/a b.jpg')
    objects = np.zeros(SIZE, int)
    objects[MASKS[0]] = 255  # borders are no object
    objects[disc(30, 30, 14)] = 1
    objects[MASKS[1]] = 2
    classes = np.choose(np.minimum(objects, 3), [0, 2, 1, 255])
    _picture(tmp_path / 'SegmentationObject/a b.png', objects, mode)
    _picture(tmp_path / 'SegmentationClass/a b.png', classes, mode)
    write(tmp_path / 'Annotations/a b.xml', _XML.format(*SIZE))
    if with_map:
        rows = ['# label:color_rgb:parts:actions', 'background:0,0,0::']
        rows += ['apple:128,0,0::', 'pear:0,128,0::']
        write(tmp_path / 'labelmap.txt', '\n'.join(rows))
    found = read_labels(tmp_path)
    assert found.format == 'voc' and not found.notes
    assert [c['name'] for c in found.categories] == ['apple', 'pear']
    pear, apple = masks(found)['a b.jpg']
    assert (pear[0], apple[0]) == ('pear', 'apple')
    np.testing.assert_array_equal(pear[1], disc(30, 30, 14))
    np.testing.assert_array_equal(apple[1], MASKS[1] & ~MASKS[0])
