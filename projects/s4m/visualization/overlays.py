# SPDX-License-Identifier: Apache-2.0
"""Pictures of annotated images that are part of a web page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pycocotools import mask as mask_utils

from .painting import paint_masks

Color = tuple[int, int, int]
#: Weight of a mask's colour, below that of other pictures: people look at
#: what is under the mask.
_OPACITY = 0.4


@dataclass(frozen=True)
class Mark:
    """A name on a picture.

    Attributes:
        left (float): Distance from the left border in percent.
        top (float): Distance from the upper border in percent.
        text (str): The name.
        color (str): Colour in CSS's notation.
    """

    left: float
    top: float
    text: str
    color: str


@dataclass(frozen=True)
class Picture:
    """A picture of a page.

    Attributes:
        uri (str): The picture as an address that holds it.
        width (int): Width in pixels.
        height (int): Height in pixels.
        title (str): What it shows.
        marks (list[Mark]): Names on it. Defaults to none.
    """

    uri: str
    width: int
    height: int
    title: str
    marks: list[Mark] = field(default_factory=list)


def css_color(color: Color) -> str:
    """Return a colour in CSS's notation.

    Example:
        >>> css_color((255, 35, 35))
        '#ff2323'
    """
    return '#{:02x}{:02x}{:02x}'.format(*color)


def read_image(path: str | Path, longest: int) -> np.ndarray | None:
    """Read an image as RGB and make it smaller.

    Args:
        path (str | Path): The image.
        longest (int): Greatest length of a side in pixels.

    Returns:
        ndarray: (H, W, 3) uint8, or None if there is no such image.
    """
    # imread would print a warning for a file that is not there.
    picture = cv2.imread(str(path)) if Path(path).is_file() else None
    if picture is None:
        return None
    scale = longest / max(picture.shape[:2])
    if scale < 1:
        size = [max(1, round(s * scale)) for s in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def paint_rles(
    rgb: np.ndarray,
    rles: Sequence[dict[str, Any]],
    colors: Sequence[Color],
    opacity: float = _OPACITY,
) -> np.ndarray:
    """Paint masks on a picture of another size than theirs.

    Small masks are painted last, since a large one would cover them.

    Args:
        rgb (ndarray): (h, w, 3) uint8 RGB.
        rles (Sequence[dict]): RLE of each mask, at the size of the image.
        colors (Sequence): RGB colour of each mask.
        opacity (float): Weight of the colours. Defaults to 0.4.

    Returns:
        ndarray: (h, w, 3) uint8 RGB.
    """
    if not rles:
        return rgb
    # One by one: pycocotools fails for more than 255 masks in a call.
    areas = np.array([int(mask_utils.area(rle)) for rle in rles])
    order = np.argsort(-areas, kind='stable')
    size = rgb.shape[1], rgb.shape[0]
    masks = np.zeros((len(rles), *rgb.shape[:2]), bool)
    for mask, k in zip(masks, order, strict=True):
        full = mask_utils.decode(rles[k]) * 255
        mask[:] = cv2.resize(full, size, interpolation=cv2.INTER_AREA) > 127
    return paint_masks(
        torch.from_numpy(rgb.copy()).permute(2, 0, 1),
        torch.from_numpy(masks),
        [colors[k] for k in order],
        opacity,
    )


def picture_of(
    rgb: np.ndarray, title: str, marks: Sequence[Mark] = ()
) -> Picture:
    """Encode a picture for a page.

    Args:
        rgb (ndarray): (h, w, 3) uint8 RGB.
        title (str): What it shows.
        marks (Sequence[Mark]): Names on it. Defaults to none.
    """
    _, data = cv2.imencode(
        '.webp',
        cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_WEBP_QUALITY, 75],
    )
    text = base64.b64encode(data.tobytes()).decode()
    height, width = rgb.shape[:2]
    uri = f'data:image/webp;base64,{text}'
    return Picture(uri, width, height, title, list(marks))


def square_around(
    box: Sequence[float], height: int, width: int
) -> tuple[int, int, int]:
    """Choose the part of an image that shows an object's surroundings.

    Args:
        box (Sequence[float]): Box (x, y, width, height) in pixels.
        height (int): Height of the image in pixels.
        width (int): Width of the image in pixels.

    Returns:
        tuple[int, int, int]: left, top and side of a square. It exceeds the
        image only where the image is too narrow for it.

    Example:
        >>> square_around((100, 100, 40, 20), 500, 500)
        (76, 66, 88)
        >>> square_around((0, 0, 40, 20), 500, 500)
        (0, 0, 88)
    """
    x, y, w, h = box
    side = max(2.2 * max(w, h), 48)
    side = round(max(min(side, max(height, width)), w, h))
    return (
        _inside(x + (w - side) / 2, side, width),
        _inside(y + (h - side) / 2, side, height),
        side,
    )


def _inside(start: float, side: int, length: int) -> int:
    """Move a range into the image, or around it if it is longer."""
    if side >= length:
        return (length - side) // 2
    return round(min(max(start, 0), length - side))


def cut_out(
    image: np.ndarray,
    square: tuple[int, int, int],
    size: int,
    outside: int = 0,
) -> np.ndarray:
    """Cut a square out of an image or a mask and resize it.

    Args:
        image (ndarray): (H, W, 3) or (H, W) uint8.
        square (tuple[int, int, int]): Left, top and side in pixels.
        size (int): Length of a side of the result in pixels.
        outside (int): Value outside the image. Defaults to 0.

    Returns:
        ndarray: (size, size, 3) or (size, size).
    """
    left, top, side = square
    shape = side, side, *image.shape[2:]
    padded = np.full(shape, outside, np.uint8)
    y, x = max(top, 0), max(left, 0)
    part = image[y : max(top + side, 0), x : max(left + side, 0)]
    place = padded[y - top :, x - left :]
    place[: part.shape[0], : part.shape[1]] = part
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(padded, (size, size), interpolation=how)


def outline(
    crop: np.ndarray,
    rle: dict[str, Any],
    square: tuple[int, int, int],
    color: Color,
    thickness: int = 2,
) -> None:
    """Draw the outline of a mask on a part of its image.

    Args:
        crop (ndarray): (s, s, 3) result of :func:`cut_out`; it is changed.
        rle (dict): Mask at the size of the image.
        square (tuple[int, int, int]): The part, as for :func:`cut_out`.
        color (tuple[int, int, int]): RGB colour.
        thickness (int): Thickness in pixels. Defaults to 2.
    """
    mask = cut_out(mask_utils.decode(rle) * 255, square, len(crop)) > 127
    lines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(crop, lines, -1, color, thickness, cv2.LINE_AA)
