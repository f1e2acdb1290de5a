# SPDX-License-Identifier: Apache-2.0
"""Polygons in images, and the masks that they are.

Coordinates are those of COCO: pixel (row i, column j) covers the square from
(j, i) to (j + 1, i + 1).
"""

from __future__ import annotations

import math

import numpy as np
from pycocotools import mask as mask_utils


def rasterise(polygons: list[np.ndarray], size: tuple[int, ...]) -> np.ndarray:
    """Draw the union of polygons as pycocotools does.

    Args:
        polygons (list[ndarray]): (n, 2) points each, n at least 3.
        size (tuple): Height and width.

    Returns:
        ndarray: (H, W) bool.
    """
    rle = polygons_rle([p.ravel().tolist() for p in polygons], size)
    return mask_utils.decode(rle).astype(bool)


def polygons_rle(polygons: list[list[float]], size: tuple[int, ...]) -> dict:
    """Encode the union of polygons as pycocotools' RLE.

    Args:
        polygons (list): Flat lists x, y, x, y ... as in COCO's files.
        size (tuple): Height and width.
    """
    rles = mask_utils.frPyObjects(polygons, int(size[0]), int(size[1]))
    return mask_utils.merge(rles)


def checked_rle(rle: dict, where: str) -> dict:
    """Return an RLE compressed, once it could be decoded.

    Args:
        rle (dict): ``size`` and ``counts``, compressed or not.
        where (str): The instance, for the message.

    Raises:
        ValueError: if it cannot be decoded.
    """
    try:
        if isinstance(rle['counts'], list):
            rle = mask_utils.frPyObjects(rle, *rle['size'])
        mask_utils.decode(rle)
    except (OverflowError, TypeError, ValueError) as e:
        raise ValueError(
            f'{where}: the RLE cannot be decoded ({e}). Export the labels '
            'again.'
        ) from e
    return rle


def decode(segmentation: list | dict, size: tuple[int, int]) -> np.ndarray:
    """Decode a COCO segmentation.

    Args:
        segmentation (list | dict): Polygons or RLE.
        size (tuple[int, int]): Height and width of the image.

    Returns:
        ndarray: (H, W) bool.
    """
    if isinstance(segmentation, dict):
        rle = segmentation
        if isinstance(rle['counts'], list):
            rle = mask_utils.frPyObjects(rle, *rle['size'])
    else:
        rle = polygons_rle(segmentation, size)
    return mask_utils.decode(rle).astype(bool)


def signed_area(ring: np.ndarray) -> float:
    """Area inside a polygon, positive where it turns from x to y.

    Args:
        ring (ndarray): (n, 2) points.

    Example:
        >>> signed_area(np.array([[0, 0], [2, 0], [2, 1], [0, 1]]))
        2.0
    """
    x, y = ring[:, 0], ring[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def clip(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut off what a polygon has outside an image.

    Algorithm of Sutherland and Hodgman (1974): the result of a polygon that
    leaves the image several times has seams along the border.

    Args:
        points (ndarray): (n, 2) points (x, y).
        size (tuple[int, int]): Height and width of the image.

    Returns:
        ndarray: (m, 2) points; none if the polygon is outside.

    Example:
        >>> clip(np.array([[-2.0, 0], [2, 0], [2, 2], [-2, 2]]), (2, 9))
        array([[0., 0.],
               [2., 0.],
               [2., 2.],
               [0., 2.]])
    """
    height, width = size
    sides = ((0, -1, 0), (0, 1, width), (1, -1, 0), (1, 1, height))
    for axis, sign, limit in sides:
        if not len(points):
            return points
        # How far each point is outside this side of the image.
        excess = sign * (points[:, axis] - limit)
        if (excess <= 0).all():
            continue
        following, after = np.roll(points, -1, 0), np.roll(excess, -1)
        crosses = (excess > 0) != (after > 0)
        share = np.zeros_like(excess)
        np.divide(excess, excess - after, out=share, where=crosses)
        cut = points + share[:, None] * (following - points)
        cut[crosses, axis] = limit
        both = np.stack([points, cut], 1)
        kept = np.stack([excess <= 0, crosses], 1)
        points = both[kept]
    return points


def ellipse(
    x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0
) -> np.ndarray:
    """Return the polygon of an ellipse.

    Args:
        x (float): Centre, in pixels.
        y (float): Centre, in pixels.
        radius_x (float): Half axis, in pixels.
        radius_y (float): The other half axis, in pixels.
        angle (float): Turn of the first axis from x to y, in radians.
            Defaults to 0.

    Returns:
        ndarray: (n, 2) points, at most 0.05 pixels inside the ellipse.
    """
    # The sagitta of 2 pi / n is r (1 - cos(pi / n)) = r (pi / n)^2 / 2.
    radius = max(radius_x, radius_y, 1e-6)
    number = max(16, math.ceil(math.pi * math.sqrt(radius / 0.1)))
    turns = np.arange(number) * (2 * math.pi / number)
    along, across = radius_x * np.cos(turns), radius_y * np.sin(turns)
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack(
        [x + cos * along - sin * across, y + sin * along + cos * across], 1
    )
