# SPDX-License-Identifier: Apache-2.0
"""Pictures for web pages."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from s4m.datasets.coco_io import encode_masks
from s4m.visualization.overlays import (
    cut_out,
    outline,
    paint_rles,
    picture_of,
    read_image,
    square_around,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)


def rle_of(rows, columns, size):
    mask = np.zeros((1, *size), bool)
    mask[0, rows, columns] = True
    return encode_masks(mask)[0]


def test_paint_rles__at_another_size_with_small_masks_on_top():
    small = rle_of(slice(20, 40), slice(20, 40), (100, 200))
    large = rle_of(slice(10, 90), slice(10, 190), (100, 200))
    rgb = np.zeros((50, 100, 3), np.uint8)
    picture = paint_rles(rgb, [small, large], [RED, BLUE], opacity=1.0)
    assert picture[15, 15].tolist() == list(RED)
    assert picture[30, 60].tolist() == list(BLUE)
    assert picture[2, 2].tolist() == [0, 0, 0]
    assert rgb.max() == 0
    assert paint_rles(rgb, [], []) is rgb


def test_paint_rles__300_masks():
    rle = rle_of(slice(2, 4), slice(2, 4), (8, 8))
    rgb = np.zeros((8, 8, 3), np.uint8)
    picture = paint_rles(rgb, [rle] * 300, [RED] * 300)
    assert picture[2, 2].tolist() == list(RED)


def test_read_image__smaller_and_missing(tmp_path):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[..., 2] = 200  # red, in OpenCV's order
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    rgb = read_image(tmp_path / 'a.png', 20)
    assert rgb.shape == (10, 20, 3) and rgb[5, 5].tolist() == [200, 0, 0]
    assert read_image(tmp_path / 'a.png', 500).shape == (40, 80, 3)
    assert read_image(tmp_path / 'b.png', 20) is None
    (tmp_path / 'c.png').write_text('no image')
    assert read_image(tmp_path / 'c.png', 20) is None


def test_picture__holds_its_pixels():
    rgb = np.zeros((8, 12, 3), np.uint8)
    rgb[..., 0] = 250
    picture = picture_of(rgb, 'red')
    head, _, data = picture.uri.partition(',')
    assert head == 'data:image/webp;base64'
    pixels = cv2.imdecode(
        np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR
    )
    assert pixels.shape == (picture.height, picture.width, 3) == (8, 12, 3)
    assert abs(int(pixels[4, 4, 2]) - 250) < 8 and pixels[4, 4, 0] < 8


@pytest.mark.parametrize(
    ('box', 'size', 'expected'),
    [
        ((100, 100, 40, 20), (500, 500), (76, 66, 88)),
        ((490, 0, 10, 10), (500, 500), (452, 0, 48)),
        # The whole image is not enough: in its middle.
        ((0, 10, 200, 5), (30, 200), (0, -85, 200)),
    ],
)
def test_square_around__inside_where_possible(box, size, expected):
    assert square_around(box, *size) == expected


def test_cut_out__and_outline_of_a_mask():
    image = np.full((10, 40, 3), 90, np.uint8)
    crop = cut_out(image, (-10, -5, 20), 40, outside=7)
    assert crop.shape == (40, 40, 3)
    assert crop[2, 2].tolist() == [7] * 3 and crop[20, 30].tolist() == [90] * 3
    rle = rle_of(slice(0, 10), slice(0, 10), (10, 40))
    outline(crop, rle, (-10, -5, 20), RED, 1)
    # At the left border of the mask, twice as large as in the image.
    assert crop[20, 20, 0] > 200 and crop[20, 20, 1] < 30
    assert crop[20, 30].tolist() == [90] * 3
    # A place outside the image altogether.
    assert cut_out(image, (100, 100, 5), 8).max() == 0
