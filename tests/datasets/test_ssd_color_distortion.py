# SPDX-License-Identifier: Apache-2.0
"""SSDColorDistortion against each operation by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from s4m.datasets import SSDColorDistortion

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def _run(monkeypatch, last=0, b=0, c=0, s=0, h=0):
    """With brightness +20, contrast 1.4, saturation 0.6, hue +15."""
    transform = SSDColorDistortion()
    flags = (last, b, c, s, h, 0, 20.0, 1.4, 0.6, 15.0, None)
    monkeypatch.setattr(transform, '_random_flags', lambda: flags)
    return transform(dict(img=IMAGE.copy()))['img']


def _clip(x):
    return np.clip(x, 0, 255).astype(np.uint8)


def _hsv(image, saturation=1.0, hue=0):
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.float32)
    hsv[..., 1] = np.floor(hsv[..., 1] * np.float32(saturation))
    hsv[..., 0] = (hsv[..., 0] + hue) % 180
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR)


def test_off__is_the_identity(monkeypatch):
    np.testing.assert_array_equal(_run(monkeypatch), IMAGE)


def test_brightness__clips(monkeypatch):
    want = _clip(IMAGE.astype(int) + 20)
    np.testing.assert_array_equal(_run(monkeypatch, b=1), want)


def test_contrast__clips_before_the_next_operation(monkeypatch):
    scaled = _clip(IMAGE * np.float32(1.4))
    np.testing.assert_array_equal(_run(monkeypatch, c=1), scaled)
    np.testing.assert_array_equal(
        _run(monkeypatch, c=1, s=1), _hsv(scaled, 0.6)
    )
    np.testing.assert_array_equal(
        _run(monkeypatch, last=1, c=1, s=1),
        _clip(_hsv(IMAGE, 0.6) * np.float32(1.4)),
    )


def test_hue__is_of_180(monkeypatch):
    np.testing.assert_array_equal(_run(monkeypatch, h=1), _hsv(IMAGE, hue=15))


def test_random__stays_bytes_and_never_swaps_channels():
    np.random.seed(0)
    gray = np.full((4, 4, 3), (200, 20, 20), np.uint8)
    for _ in range(50):
        out = SSDColorDistortion(hue_delta=0)(dict(img=gray.copy()))['img']
        assert out.dtype == np.uint8
        assert (out[..., 0] >= out[..., 2]).all()


@pytest.mark.parametrize('dtype', [np.float32, np.uint8])
def test_input_types(dtype):
    out = SSDColorDistortion()(dict(img=IMAGE.astype(dtype)))['img']
    assert out.shape == IMAGE.shape


def _step_by_step(image, flags):
    """The distortion in whole images of wider types, without tables."""
    last, b, c, s, h, _, delta, alpha, saturation, hue, _ = flags

    def scaled(values, factor):
        return np.clip(values * np.float32(factor), 0, 255).astype(np.uint8)

    if b:
        image = _clip(image.astype(np.int16) + round(delta))
    if c and not last:
        image = scaled(image, alpha)
    if s or h:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        if s:
            hsv[..., 1] = scaled(hsv[..., 1], saturation)
        if h:
            hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(hue)) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    return scaled(image, alpha) if c and last else image


@pytest.mark.parametrize('view', [lambda x: x, lambda x: x[:, ::-1]])
def test_tables__equal_the_operations_bit_by_bit(view):
    transform = SSDColorDistortion()
    image = view(IMAGE)
    for seed in range(100):
        np.random.seed(seed)
        flags = transform._random_flags()
        np.random.seed(seed)
        before = image.copy()
        out = transform(dict(img=image))['img']
        np.testing.assert_array_equal(out, _step_by_step(image, flags))
        np.testing.assert_array_equal(image, before)
