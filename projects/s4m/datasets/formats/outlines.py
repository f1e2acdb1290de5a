# SPDX-License-Identifier: Apache-2.0
"""Outlines of masks as polygons.

Coordinates are those of COCO, see :mod:`.polygons`.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from .polygons import decode, rasterise, signed_area

#: Largest distance in pixels between an outline and its simplified polygon.
TOLERANCE = 0.75

#: IoU of a mask and its simplified polygon below which the polygon follows
#: the edges of the pixels instead; objects of a few pixels need it.
_MIN_IOU = 0.98


class Part(NamedTuple):
    """One part of a mask, without other parts in its holes.

    Attributes:
        outline (ndarray): (n, 2) points (x, y), in pixels.
        holes (list[ndarray]): Such outlines, in the opposite direction.
    """

    outline: np.ndarray
    holes: list[np.ndarray]


def mask_parts(mask: np.ndarray, tolerance: float = TOLERANCE) -> list[Part]:
    """Trace the parts of a mask with their holes.

    The outline goes through the middles of the pixels' edges, which has no
    bias in either direction, and is simplified as Douglas and Peucker do
    (1973). Where that changes the part too much (IoU below 0.98), the
    tolerance is a third, and then the part keeps the edges of its pixels.
    Pixels that touch at a corner only are two parts.

    Args:
        mask (ndarray): (H, W) bool.
        tolerance (float): Largest distance of the simplified outline, in
            pixels. Defaults to 0.75.

    Returns:
        list[Part]: The parts, the largest first; none of an empty mask.

    Example:
        >>> mask = np.zeros((4, 6), bool)
        >>> mask[1:3, 2:5] = True
        >>> sorted(mask_parts(mask)[0].outline.tolist())
        [[2.0, 1.0], [2.0, 3.0], [5.0, 1.0], [5.0, 3.0]]
    """
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return []
    # Only the box of the mask: masks are often much smaller than images.
    top, left = int(rows[0]), int(columns[0])
    box = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    number, labels, stats, _ = cv2.connectedComponentsWithStats(
        box.astype(np.uint8), connectivity=4
    )
    parts = []
    order = np.argsort(-stats[1:number, cv2.CC_STAT_AREA], kind='stable') + 1
    for k in order:
        x, y, width, height = stats[k, :4]
        piece = labels[y : y + height, x : x + width] == k
        x, y = x + left, y + top
        rings = [ring + np.array([x, y]) for ring in _trace(piece)]
        for distance in (tolerance, tolerance / 3):
            part = _part([_simplify(ring, distance) for ring in rings])
            if part and _iou(part, piece, (x, y)) >= _MIN_IOU:
                break
        else:
            part = _part([_corners(ring) for ring in rings])
        assert part is not None
        parts.append(part)
    return parts


def _trace(piece: np.ndarray) -> list[np.ndarray]:
    """Follow the edges of a 4-connected mask's pixels, the mask at the right.

    Returns:
        list[ndarray]: Closed rings (n, 2) of the corners on the way, one
        pixel apart.
    """
    padded = np.pad(piece, 1)
    width = piece.shape[1] + 1  # corners of a row
    # Edges whose pixel at the right (seen along the edge) is in the mask.
    right = np.argwhere(padded[1:, 1:-1] & ~padded[:-1, 1:-1])
    left = np.argwhere(padded[:-1, 1:-1] & ~padded[1:, 1:-1])
    down = np.argwhere(padded[1:-1, :-1] & ~padded[1:-1, 1:])
    up = np.argwhere(padded[1:-1, 1:] & ~padded[1:-1, :-1])
    left += np.array([0, 1])
    up += np.array([1, 0])
    edges: dict[int, list[int]] = {}
    for starts, step in (
        (right, 1),
        (down, width),
        (left, -1),
        (up, -width),
    ):
        for corner in (starts @ (width, 1)).tolist():
            edges.setdefault(corner, []).append(step)
    # At a corner where two pixels touch diagonally, turning right stays on
    # the same pixel.
    turn_right = {1: width, width: -1, -1: -width, -width: 1}
    rings = []
    while edges:
        start = corner = next(iter(edges))
        step = 0
        ring: list[int] = []
        while corner != start or not ring:
            steps = edges[corner]
            wanted = turn_right.get(step)
            step = wanted if wanted in steps else steps[0]
            steps.remove(step)
            if not steps:
                del edges[corner]
            ring.append(corner)
            corner += step
        rings.append(
            np.stack([np.array(ring) % width, np.array(ring) // width], 1)
        )
    return rings


def _simplify(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Simplify the polygon through the middles of a ring's edges."""
    middles = (ring + np.roll(ring, -1, 0)) / 2
    # The corners of a right angle between two long edges stay sharp.
    straight = (ring - np.roll(ring, 1, 0) == np.roll(ring, -1, 0) - ring).all(
        1
    )
    far = np.roll(straight, 1) & np.roll(straight, -1)
    sharp = ~straight & far
    points = np.stack([ring, middles], 1).reshape(-1, 2)
    keep = np.stack([sharp, np.ones_like(sharp)], 1).reshape(-1)
    points = points[keep]
    # OpenCV keeps the first and the last point of a curve.
    first = int(np.argmax(points.sum(1)))
    points = np.roll(points, -first, 0).astype(np.float32)
    points = cv2.approxPolyDP(points, tolerance, True)[:, 0]
    return points.astype(np.float64)


def _corners(ring: np.ndarray) -> np.ndarray:
    """Leave out the corners on straight edges."""
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    return ring[(before != after).any(1)].astype(np.float64)


def _part(rings: list[np.ndarray]) -> Part | None:
    """Sort the rings of a connected mask; None where an outline vanished."""
    areas = [signed_area(ring) for ring in rings]
    outer = [r for r, area in zip(rings, areas, strict=True) if area > 0]
    holes = [r for r, area in zip(rings, areas, strict=True) if area < 0]
    return Part(outer[0], holes) if len(outer) == 1 else None


def _iou(part: Part, piece: np.ndarray, offset: tuple[int, int]) -> float:
    """IoU of a part with the mask it was traced from."""
    moved = Part(part.outline - offset, [h - offset for h in part.holes])
    drawn = rasterise([join_rings([moved])], piece.shape)
    union = int((drawn | piece).sum())
    return int((drawn & piece).sum()) / union


def join_rings(parts: list[Part]) -> np.ndarray:
    """Join parts and holes into one polygon by seams without an area.

    Formats with one polygon an object have no other way to say this; a seam
    is drawn there and back at the nearest points of two outlines.

    Args:
        parts (list[Part]): At least one part.

    Returns:
        ndarray: (n, 2) points.
    """
    whole = parts[0].outline
    others = list(parts[0].holes)
    for part in parts[1:]:
        others += [part.outline, *part.holes]
    for ring in others:
        # Squared distances of all points of one to all of the other.
        gaps = (
            np.square(whole).sum(1)[:, None]
            + np.square(ring).sum(1)[None]
            - 2 * whole @ ring.T
        )
        i, j = np.unravel_index(int(gaps.argmin()), gaps.shape)
        seam = np.roll(ring, -int(j), 0)
        whole = np.concatenate(
            [whole[: i + 1], seam, seam[:1], whole[int(i) :]]
        )
    return whole


def parts_of(segmentation: list | dict, size: tuple[int, int]) -> list[Part]:
    """Return the parts of a COCO segmentation.

    A single polygon is returned as it is; several polygons, which may
    overlap, and RLE are traced, see :func:`mask_parts`.

    Args:
        segmentation (list | dict): Polygons or RLE.
        size (tuple[int, int]): Height and width of the image.
    """
    if isinstance(segmentation, list) and len(segmentation) == 1:
        return [Part(np.reshape(segmentation[0], (-1, 2)).astype(float), [])]
    return mask_parts(decode(segmentation, size))
