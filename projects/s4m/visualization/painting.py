# SPDX-License-Identifier: Apache-2.0
"""Pictures of images and masks, as RGB arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

# Consecutive multiples of the golden ratio are far apart on the wheel of hues.
_GOLDEN_RATIO = 0.618
_SATURATION, _VALUE = 220, 255
#: Share of a mask's colour in the pixels that it covers.
_OPACITY = 0.6


def palette(num: int) -> list[tuple[int, int, int]]:
    """Colours that the eye tells apart.

    A place in the list always has the same colour, so that the k-th mask of
    two panels is painted alike.

    Args:
        num (int): Number of colours.

    Returns:
        list[tuple[int, int, int]]: RGB in 0..255.

    Example:
        >>> palette(2)
        [(255, 35, 35), (35, 101, 255)]
    """
    hsv = np.full((1, num, 3), (0, _SATURATION, _VALUE), np.uint8)
    # OpenCV counts hues of 8-bit images in steps of two degrees.
    hsv[0, :, 0] = (np.arange(num) * _GOLDEN_RATIO * 180).astype(int) % 180
    if num == 0:
        return []
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]
    return [(int(r), int(g), int(b)) for r, g, b in rgb]


def paint_masks(rgb: Tensor, masks: Tensor) -> np.ndarray:
    """Lay coloured masks with outlines on an image.

    Args:
        rgb (Tensor): (3, H, W) pixels, cut to 0..255.
        masks (Tensor): (n, H, W) bool; later masks are painted on top.

    Returns:
        ndarray: (H, W, 3) uint8 RGB.
    """
    pixels = rgb.clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    picture = np.ascontiguousarray(pixels)
    if picture.base is not None:
        picture = picture.copy()  # not the memory of the tensor
    for color, mask in zip(
        palette(len(masks)), masks.cpu().numpy(), strict=True
    ):
        mixed = (1 - _OPACITY) * picture[mask] + _OPACITY * np.array(color)
        picture[mask] = mixed
        outline, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(picture, outline, -1, color, 1)
    return picture


def panel(
    rgb: Tensor, masks: Tensor | None = None, title: str = ''
) -> np.ndarray:
    """An image, its masks, and a title in the upper left corner.

    Args:
        rgb (Tensor): (3, H, W) pixels in 0..255.
        masks (Tensor, optional): (n, H, W) bool. Their number is added to the
            title, unless it is 0. None, the default, paints nothing.
        title (str): White text with a black edge, none by default.

    Returns:
        ndarray: (H, W, 3) uint8 RGB.
    """
    if masks is None:
        masks = rgb.new_zeros((0, *rgb.shape[1:])).bool()
    picture = paint_masks(rgb, masks)
    if title:
        text = f'{title} ({len(masks)})' if len(masks) else title
        size = max(0.35, min(rgb.shape[1:]) / 500)
        place = (4, int(22 * size) + 4)
        for color, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(
                picture,
                text,
                place,
                cv2.FONT_HERSHEY_SIMPLEX,
                size,
                color,
                width,
                cv2.LINE_AA,
            )
    return picture


def grid(
    rows: Sequence[Sequence[np.ndarray]], width: int | None = None
) -> np.ndarray | None:
    """One picture of rows of panels.

    Args:
        rows (Sequence): For each row its panels, (H, W, 3) of one height.
            Rows that are narrower than the widest are filled up with white.
        width (int, optional): Width in pixels to which every row is resized.
            By default panels keep their size.

    Returns:
        ndarray: (H, W, 3), or None where there is no row.
    """
    if not rows:
        return None
    lines = [np.concatenate(row, axis=1) for row in rows]
    if width is not None:
        lines = [
            cv2.resize(
                line, (width, round(line.shape[0] * width / line.shape[1]))
            )
            for line in lines
        ]
    widest = max(line.shape[1] for line in lines)
    return np.concatenate(
        [
            np.pad(
                line,
                ((0, 0), (0, widest - line.shape[1]), (0, 0)),
                constant_values=255,
            )
            for line in lines
        ]
    )


def save_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write an RGB picture; its folder is made.

    Args:
        path (str | Path): File whose suffix says the format.
        picture (ndarray): (H, W, 3) uint8 RGB.

    Raises:
        OSError: if the file cannot be written.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f'The picture {path} cannot be written')


def draw_confusion(
    matrix: Sequence[Sequence[int]], classes: Sequence[str], path: str | Path
) -> None:
    """Draw a heat map of the classes of pseudo-labels and of objects.

    A cell shows the percentage of the pseudo-labels of its row, the objects
    of one class, that have the class of its column.

    Args:
        matrix (Sequence): K + 1 rows of K counts; the last row counts the
            pseudo-labels that overlap no object.
        classes (Sequence[str]): K names.
        path (str | Path): Picture to write.
    """
    from matplotlib.figure import Figure

    counts = np.array(matrix, float)
    share = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
    side = 2 + 0.5 * len(classes)
    figure = Figure(figsize=(side, side), layout='tight')
    axes = figure.subplots()
    axes.imshow(share, cmap='Blues', vmin=0, vmax=100)
    names = [*classes, 'no object']
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel('class of the pseudo-label')
    axes.set_ylabel('class of the object')
    if len(classes) <= 20:
        for i, row in enumerate(share):
            for j, value in enumerate(row):
                color = 'white' if value > 50 else 'black'
                axes.text(
                    j, i, f'{value:.0f}', ha='center', va='center', color=color
                )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
