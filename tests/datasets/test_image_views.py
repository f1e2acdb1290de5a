# SPDX-License-Identifier: Apache-2.0
"""Test-time views of images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from s4m.datasets.image_views import ImageViews, view_pipeline

STEPS = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 32), keep_ratio=True),
    dict(type='PackDetInputs'),
]


def test_view_pipeline__size_and_flip():
    view = view_pipeline(STEPS, 1.5, True)
    assert view[1]['scale'] == (96, 48)
    assert view[2] == dict(type='RandomFlip', prob=1.0)
    assert STEPS[1]['scale'] == (64, 32)
    factor = [dict(type='Resize', scale_factor=0.5)]
    assert view_pipeline(factor, 2.0, False)[0]['scale_factor'] == 1.0
    with pytest.raises(ValueError, match='need a Resize'):
        view_pipeline([dict(type='PackDetInputs')], 2.0, False)


def test_views__pixels(tmp_path):
    """The left half is white: in a mirrored view the right half."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32] = 255
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    images = [dict(id=7, file_name='a.png', height=32, width=64)]
    views = ImageViews(images, tmp_path, STEPS, (1.0, 0.5), flip=True)
    assert views.mirrored == [False, True, False, True]
    packed = views[0]
    assert [tuple(v['inputs'].shape) for v in packed] == [
        (3, 32, 64), (3, 32, 64), (3, 16, 32), (3, 16, 32)
    ]  # fmt: skip
    for view, mirrored in zip(packed, views.mirrored, strict=True):
        left, right = view['inputs'].float().chunk(2, dim=2)
        white, black = (right, left) if mirrored else (left, right)
        assert white.mean() > 240 and black.mean() < 15
        assert view['data_samples'].img_id == 7
