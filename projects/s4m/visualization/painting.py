# SPDX-License-Identifier: Apache-2.0
"""Draw images and masks as RGB arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

# Consecutive multiples of the golden ratio have distant hues.
_GOLDEN_RATIO = 0.618
_SATURATION, _VALUE = 220, 255
#: Weight of a mask's colour in its pixels.
_OPACITY = 0.6


def palette(num: int) -> list[tuple[int, int, int]]:
    """Choose colours that are easy to distinguish.

    The k-th colour does not depend on ``num``, so that the k-th masks of two
    panels have the same colour.

    Args:
        num (int): Number of colours.

    Returns:
        list[tuple[int, int, int]]: RGB values in 0..255.

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


def paint_masks(
    rgb: Tensor,
    masks: Tensor,
    colors: Sequence[tuple[int, int, int]] | None = None,
    opacity: float = _OPACITY,
) -> np.ndarray:
    """Paint coloured masks with outlines on an image.

    Args:
        rgb (Tensor): (3, H, W) pixels, clamped to 0..255.
        masks (Tensor): (n, H, W) bool; later masks are painted on top.
        colors (Sequence, optional): RGB colour of each mask. Defaults to
            None, those of :func:`palette`.
        opacity (float): Weight of a mask's colour in its pixels, 0 for an
            outline alone. Defaults to 0.6.

    Returns:
        ndarray: (H, W, 3) uint8 RGB.
    """
    pixels = rgb.clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    picture = np.ascontiguousarray(pixels)
    if picture.base is not None:
        picture = picture.copy()  # the memory belongs to the tensor
    if colors is None:
        colors = palette(len(masks))
    for color, mask in zip(colors, masks.cpu().numpy(), strict=True):
        mixed = (1 - opacity) * picture[mask] + opacity * np.array(color)
        picture[mask] = mixed
        outline, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(picture, outline, -1, color, 1)
    return picture


def panel(
    rgb: Tensor, masks: Tensor | None = None, title: str = ''
) -> np.ndarray:
    """Draw an image, its masks and a title in the upper left corner.

    Args:
        rgb (Tensor): (3, H, W) pixels in 0..255.
        masks (Tensor, optional): (n, H, W) bool. The title gets their number
            unless it is 0. Defaults to None, which paints nothing.
        title (str): White text with a black edge. Defaults to none.

    Returns:
        ndarray: (H, W, 3) uint8 RGB.

    Example:
        >>> import torch
        >>> panel(torch.zeros(3, 4, 6)).shape
        (4, 6, 3)
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
    """Combine rows of panels in one picture.

    Args:
        rows (Sequence): Rows of panels (H, W, 3) with one height in a row. A
            row that is narrower than the widest row is padded with white.
        width (int, optional): Width in pixels to which every row is resized.
            Defaults to None, which does not resize.

    Returns:
        ndarray: (H, W, 3), or None without a row.

    Example:
        >>> one = np.zeros((4, 6, 3), np.uint8)
        >>> grid([[one, one], [one]]).shape
        (8, 12, 3)
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
        path (str | Path): File whose suffix determines the format.
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
    """Draw a heat map of the classes of pseudo-labels and objects.

    A row belongs to the objects of one class. A cell is the percentage of
    the pseudo-labels on these objects that have the class of the column.

    Args:
        matrix (Sequence): K + 1 rows of K counts; the last row counts the
            pseudo-labels that overlap no object.
        classes (Sequence[str]): K class names.
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
