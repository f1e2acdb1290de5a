# SPDX-License-Identifier: Apache-2.0
"""Folders of images."""

from __future__ import annotations

import json

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image
from s4m.datasets.converters.images import (
    find_images,
    image_size,
    images_to_coco,
)


def test_images__sizes_as_mmcv_reads_them(tmp_path):
    (tmp_path / 'b').mkdir()
    plain = np.zeros((6, 9, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'b/2.png'), plain)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(plain).save(tmp_path / '1.jpg', exif=exif)
    Image.fromarray(plain).convert('CMYK').save(tmp_path / 'b/3.jpg')
    labels = tmp_path / 'labels.json'
    categories = [dict(id=1, name='a')]
    labels.write_text(json.dumps(dict(images=[], categories=categories)))
    out = tmp_path / 'out.json'
    images_to_coco(tmp_path, categories=labels, out=out)
    data = json.loads(out.read_text())
    assert data['categories'] == categories and data['annotations'] == []
    names = [i['file_name'] for i in data['images']]
    assert names == ['1.jpg', 'b/2.png', 'b/3.jpg']
    for image in data['images']:
        shape = mmcv.imread(str(tmp_path / image['file_name'])).shape
        assert (image['height'], image['width']) == shape[:2]
    assert [i['width'] for i in data['images']] == [6, 9, 9]
    (tmp_path / 'b/4.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'4\.png cannot be read'):
        image_size(tmp_path / 'b/4.png')
    with pytest.raises(ValueError, match=r'4\.png cannot be read'):
        images_to_coco(tmp_path, categories=labels, out=tmp_path / 'no.json')
    assert not (tmp_path / 'no.json').exists()
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='No image'):
        find_images(tmp_path / 'empty')
