# SPDX-License-Identifier: Apache-2.0
"""Images of the annotated size, and others."""

from __future__ import annotations

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from PIL import Image


@pytest.fixture
def load():
    return TRANSFORMS.build(dict(type='LoadCheckedImage'))


@pytest.mark.parametrize('orientation', [1, 6])
def test_load__size_as_read(load, tmp_path, orientation):
    """Orientation 6 is a quarter turn; MMCV shows it upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / 'photo.jpg'
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(file, exif=exif)
    shown = (6, 9) if orientation == 1 else (9, 6)
    path = str(file)
    right = dict(img_path=path, height=shown[0], width=shown[1])
    assert load(right)['img'].shape[:2] == shown
    wrong = dict(img_path=path, height=shown[1], width=shown[0])
    with pytest.raises(ValueError, match=r'photo\.jpg is .* turned by EXIF'):
        load(wrong)
    other = dict(img_path=path, height=7, width=9)
    with pytest.raises(ValueError, match='its annotation says 7 x 9'):
        load(other)
    assert load(dict(img_path=path))['img'].shape[:2] == shown
