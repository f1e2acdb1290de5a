# SPDX-License-Identifier: Apache-2.0
"""Draw outlines and surfaces of Shapes' objects."""

from __future__ import annotations

import cv2
import numpy as np


# ---------------------------------------------------------------- outlines
def _arc(
    center: tuple[float, float],
    radius: tuple[float, float],
    start: float,
    stop: float,
    num: int = 24,
) -> np.ndarray:
    """Return points on an ellipse; angles are in degrees, y points down."""
    t = np.radians(np.linspace(start, stop, num))
    return np.stack(
        [
            center[0] + radius[0] * np.cos(t),
            center[1] + radius[1] * np.sin(t),
        ],
        1,
    )


def outline(name: str, rng: np.random.Generator) -> np.ndarray:
    """Draw the outline of one object of a class.

    Args:
        name (str): Class name.
        rng (np.random.Generator): Source of the proportions.

    Returns:
        np.ndarray: (N, 2) polygon within about [-1, 1] squared.

    Raises:
        ValueError: if the class is unknown.
    """
    u = rng.uniform
    if name == 'person':  # a keyhole: round head on a widening body
        head, foot = u(0.28, 0.36), u(0.35, 0.5)
        return np.concatenate(
            [
                _arc((0, -0.65), (head, 0.35), 120, 420),
                [[foot, 1.0], [-foot, 1.0]],
            ]
        )
    if name == 'rider':  # a crescent
        depth = u(0.35, 0.6)
        return np.concatenate(
            [
                _arc((0, 0), (0.95, 0.95), -80, 260),
                _arc((0, -depth), (0.72, 0.8), 235, -55),
            ]
        )
    if name == 'car':  # a flat box with a dome
        roof = u(0.4, 0.6)
        return np.concatenate(
            [
                [[-1.0, 0.6], [-1.0, 0.05]],
                _arc((u(-0.15, 0.15), 0.05), (roof, 0.6), 180, 360),
                [[1.0, 0.05], [1.0, 0.6]],
            ]
        )
    if name == 'truck':  # an L: a tall box and a low cab
        step, cab = u(0.1, 0.4), u(-0.1, 0.2)
        return np.array(
            [
                [-1, -0.75],
                [step, -0.75],
                [step, cab],
                [1, cab],
                [1, 0.75],
                [-1, 0.75],
            ]
        )
    if name == 'bus':  # a plain, long box
        half = u(0.42, 0.55)
        return np.array([[-1, -half], [1, -half], [1, half], [-1, half]])
    if name == 'train':  # an arrow with a notched tail
        half, notch = u(0.35, 0.45), u(0.3, 0.5)
        return np.array(
            [
                [-1, -half],
                [0.5, -half],
                [1, 0],
                [0.5, half],
                [-1, half],
                [-1 + notch, 0],
            ]
        )
    if name == 'motorcycle':  # a five-pointed star
        inner = u(0.4, 0.5)
        angles = np.radians(np.arange(10) * 36 - 90)
        radius = np.where(np.arange(10) % 2 == 0, 1.0, inner)
        return np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)
    if name == 'bicycle':  # a dumbbell: two discs and a bar
        disc, bar = u(0.4, 0.48), u(0.1, 0.16)
        cut = np.degrees(np.arcsin(bar / disc))
        return np.concatenate(
            [
                _arc((-0.55, 0), (disc, disc), cut, 360 - cut),
                _arc((0.55, 0), (disc, disc), 180 + cut, 540 - cut),
            ]
        )
    raise ValueError(f'unknown class {name!r}')


# ----------------------------------------------------------------- surface
def _noise(
    rng: np.random.Generator, height: int, width: int, cell: float
) -> np.ndarray:
    """Draw smooth (height, width) noise in 0..1 with cells of some pixels."""
    shape = max(2, int(height / cell) + 1), max(2, int(width / cell) + 1)
    coarse = rng.random(shape, dtype=np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return fine.clip(0, 1)


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Average an image down to a (width, height) in pixels."""
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    pixel = np.array([[[hue % 360, saturation, value]]], np.float32)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0]


def _pattern(
    rng: np.random.Generator, xx: np.ndarray, yy: np.ndarray, period: float
) -> np.ndarray:
    """Draw stripes, checks, dots or grain in 0..1 at the given pixels."""
    angle = rng.uniform(0, np.pi)
    a = (np.cos(angle) * xx + np.sin(angle) * yy) * (2 * np.pi / period)
    b = (np.cos(angle) * yy - np.sin(angle) * xx) * (2 * np.pi / period)
    kind = rng.integers(4)
    if kind == 0:
        return 0.5 + 0.5 * np.sin(a)
    if kind == 1:
        return (np.sin(a) * np.sin(b) > 0).astype(np.float32)
    if kind == 2:
        return (np.cos(a) + np.cos(b) > 0.9).astype(np.float32)
    return rng.random(xx.shape, dtype=np.float32)


def paint(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    mask: np.ndarray,
    hue: float,
    rng: np.random.Generator,
    unit: float,
) -> None:
    """Fill a mask with a textured surface, in place.

    Args:
        image (np.ndarray): (H, W, 3) float32 RGB in 0..1, which changes.
        box (tuple): Position (x0, y0, x1, y1) of the mask in pixels.
        mask (np.ndarray): (y1 - y0, x1 - x0) bool.
        hue (float): Mean hue in degrees.
        rng (np.random.Generator): Source of the texture.
        unit (float): Length in pixels that scales the texture.
    """
    x0, y0, x1, y1 = box
    yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    value = rng.uniform(0.35, 0.95)
    one = _rgb(hue, rng.uniform(0.4, 0.9), value)
    two = _rgb(
        hue + rng.normal(0, 8),
        rng.uniform(0.4, 0.9),
        np.clip(value + rng.choice([-1, 1]) * rng.uniform(0.05, 0.2), 0.2, 1),
    )
    t = _pattern(rng, xx, yy, unit * rng.uniform(0.03, 0.08))[..., None]
    surface = one * (1 - t) + two * t
    shade = 1 + rng.uniform(-0.3, 0.3) * (xx - x0) / max(1, x1 - x0)
    shade = shade + rng.uniform(-0.3, 0.3) * (yy - y0) / max(1, y1 - y0)
    region = image[y0:y1, x0:x1]
    region[mask] = (surface * shade[..., None])[mask]


def background(
    rng: np.random.Generator, height: int, width: int, horizon: int
) -> np.ndarray:
    """Draw a (height, width, 3) sky above the row ``horizon``, and ground."""
    unit = height
    image = np.empty((height, width, 3), np.float32)
    for rows, hue in (
        (slice(0, horizon), rng.uniform(170, 260)),
        (slice(horizon, height), rng.uniform(0, 360)),
    ):
        num = rows.stop - rows.start
        one = _rgb(hue, rng.uniform(0.05, 0.4), rng.uniform(0.3, 0.8))
        two = _rgb(
            hue + rng.normal(0, 40),
            rng.uniform(0.05, 0.5),
            rng.uniform(0.3, 0.8),
        )
        t = _noise(rng, num, width, unit * rng.uniform(0.08, 0.4))
        t = 0.7 * t + 0.3 * _noise(rng, num, width, unit * 0.03)
        image[rows] = one * (1 - t[..., None]) + two * t[..., None]
    # Thin lines are clutter that is not annotated.
    for _ in range(rng.integers(2, 8)):
        color = tuple(float(c) for c in rng.uniform(0.2, 0.8, 3))
        ends = rng.uniform(0, 1, (2, 2)) * [width, height]
        cv2.line(
            image,
            tuple(ends[0].astype(int).tolist()),
            tuple(ends[1].astype(int).tolist()),
            color,
            max(1, int(unit * rng.uniform(0.005, 0.02))),
            cv2.LINE_AA,
        )
    return image
