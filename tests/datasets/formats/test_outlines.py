# SPDX-License-Identifier: Apache-2.0
"""Masks to polygons and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from label_exports import MASKS, disc, iou
from s4m.datasets.formats import outlines
from s4m.datasets.formats.outlines import join_rings, mask_parts
from s4m.datasets.formats.polygons import clip, ellipse, rasterise, signed_area
from scipy import ndimage


def _drawn(parts, size):
    return rasterise([join_rings(parts)], size)


@pytest.mark.parametrize('seed', range(40))
def test_parts__follow_pixels_exactly(seed, monkeypatch):
    """Without simplification; parts and holes as SciPy counts them."""
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 12, 2)
    mask = generator.random((height, width)) < generator.uniform(0.1, 0.95)
    monkeypatch.setattr(outlines, '_MIN_IOU', 2)
    parts = mask_parts(mask)
    assert len(parts) == ndimage.label(mask)[1]
    for part in parts:
        assert signed_area(part.outline) > 0
        assert all(signed_area(hole) < 0 for hole in part.holes)
    area = sum(
        signed_area(ring) for p in parts for ring in (p.outline, *p.holes)
    )
    assert area == mask.sum()
    if parts:
        np.testing.assert_array_equal(_drawn(parts, mask.shape), mask)


@pytest.mark.parametrize('radius', [0.6, 1.5, 3, 6, 12, 25, 50])
def test_parts__simplified(radius):
    """Few points, and nothing lost, down to single pixels."""
    mask = disc(60.3, 59.6, radius)
    (part,) = mask_parts(mask)
    assert not part.holes
    assert iou(_drawn([part], mask.shape), mask) >= 0.98
    assert len(part.outline) <= max(20, 3 * radius)


def test_parts__holes_and_several_parts():
    (ring,) = mask_parts(MASKS[1])
    assert len(ring.holes) == 1
    assert iou(_drawn([ring], MASKS[1].shape), MASKS[1]) >= 0.98
    parts = mask_parts(MASKS[2])
    assert len(parts) == 2
    assert signed_area(parts[0].outline) > signed_area(parts[1].outline)
    assert iou(_drawn(parts, MASKS[2].shape), MASKS[2]) >= 0.98
    assert mask_parts(np.zeros((4, 4), bool)) == []


def test_clip__is_the_mask_cut_off():
    """Inside the image nothing changes, also of a polygon that is concave."""
    wide = [[-30, 20], [80, -25], [40, 30], [110, 70], [30, 55], [-9, 90]]
    points = np.array(wide, float)
    inside = clip(points, (60, 70))
    assert (inside >= 0).all() and (inside <= (70, 60)).all()
    shifted = rasterise([points + 50], (200, 200))[50:110, 50:120]
    assert iou(rasterise([inside], (60, 70)), shifted) > 0.99
    assert len(clip(points - 300, (60, 70))) == 0


def test_ellipse__area_and_turn():
    points = ellipse(50, 40, 30, 10, math.pi / 6)
    assert signed_area(points) == pytest.approx(math.pi * 300, rel=0.01)
    far = points[np.argmax(points[:, 0])]
    # The long axis goes right and down.
    assert far[1] > 40 + 10
