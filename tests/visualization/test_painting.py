# SPDX-License-Identifier: Apache-2.0
"""Pictures of images and masks."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import pytest
import torch
from s4m.visualization import (
    draw_confusion,
    grid,
    paint_masks,
    palette,
    panel,
    save_picture,
)


def test_palette__hues_by_the_golden_ratio():
    assert palette(0) == []
    colors = palette(12)
    assert palette(5) == colors[:5]
    for k, color in enumerate(colors):
        hue, saturation, value = colorsys.rgb_to_hsv(*color)
        turn = abs(hue - k * 0.618 % 1)
        assert min(turn, 1 - turn) < 0.01  # steps of two degrees
        assert saturation == pytest.approx(220 / 255, abs=0.01)
        assert value == 255


def test_paint_masks__inside_outline_and_outside():
    rgb = torch.full((3, 20, 20), 100.0)
    rgb[0] = 300.0  # cut to 255
    masks = torch.zeros(2, 20, 20, dtype=torch.bool)
    masks[0, 2:9, 2:9] = masks[1, 12:18, 12:18] = True
    picture = paint_masks(rgb, masks)
    assert picture.shape == (20, 20, 3) and picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [255, 100, 100]
    for color, (y, x) in zip(palette(2), ((2, 2), (12, 12)), strict=True):
        assert tuple(picture[y, x]) == color  # the outline
        mixed = 0.4 * np.array([255, 100, 100]) + 0.6 * np.array(color)
        assert np.abs(picture[y + 3, x + 3] - mixed).max() <= 1
    assert rgb.unique().tolist() == [100, 300]
    assert masks.sum() == 49 + 36


def test_paint_masks__given_colours_without_a_filling():
    rgb = torch.full((3, 20, 20), 100.0)
    masks = torch.zeros(1, 20, 20, dtype=torch.bool)
    masks[0, 2:9, 2:9] = True
    picture = paint_masks(rgb, masks, [(1, 2, 3)], opacity=0)
    assert picture[2, 5].tolist() == [1, 2, 3]
    assert picture[5, 5].tolist() == [100, 100, 100]


def test_panel__title_and_count():
    rgb = torch.zeros(3, 64, 128)
    masks = torch.zeros(2, 64, 128, dtype=torch.bool)
    plain = panel(rgb)
    assert plain.max() == 0
    title = panel(rgb, title='labels')
    assert title[:24].max() > 200 and title[32:].max() == 0
    # The number of masks is in the title: another picture.
    assert (panel(rgb, masks, 'labels') != title).any()


def test_grid__rows_of_other_widths():
    a, b = (np.full((2, n, 3), 7, np.uint8) for n in (2, 3))
    picture = grid([[a, b], [a]])
    assert picture.shape == (4, 5, 3)
    assert (picture[:2] == 7).all() and (picture[2:, 2:] == 255).all()
    assert grid([]) is None
    assert grid([[a]], width=8).shape == (8, 8, 3)


def test_save_picture__is_rgb(tmp_path):
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[..., 0] = 9
    save_picture(tmp_path / 'new/a.png', picture)
    assert cv2.imread(str(tmp_path / 'new/a.png'))[0, 0].tolist() == [0, 0, 9]


def test_confusion__darkest_where_the_class_is_right(tmp_path):
    path = tmp_path / 'new/c.png'
    draw_confusion([[9, 1], [0, 5], [0, 0]], ['a', 'b'], path)
    picture = cv2.imread(str(path))
    blue = (picture[..., 0].astype(int) - picture[..., 2]) > 40
    assert 0.05 < blue.mean() < 0.8
