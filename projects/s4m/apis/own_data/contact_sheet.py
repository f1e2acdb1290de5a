# SPDX-License-Identifier: Apache-2.0
"""Draw several images with their labels on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from pycocotools import mask as mask_utils

from s4m.visualization.painting import paint_masks

#: Size in pixels of an image on the sheet, and height of its title.
_WIDTH, _HEIGHT, _TITLE = 300, 225, 22


def contact_sheet(
    files: Sequence[Path],
    titles: Sequence[str],
    masks: Sequence[Sequence[dict]] | None = None,
    columns: int = 5,
) -> np.ndarray:
    """Draw images with numbers, titles and masks in rows.

    Args:
        files (Sequence[Path]): Images that can be read.
        titles (Sequence[str]): Title of each image, which is cut to the
            width.
        masks (Sequence, optional): RLE masks of each image; later ones are
            on top. Defaults to None, no masks.
        columns (int): Number of images in a row. Defaults to 5.

    Returns:
        ndarray: (H, W, 3) uint8 BGR.

    Example::

        cv2.imwrite('sheet.jpg', contact_sheet(files, titles))
    """
    cells = []
    for number, (file, title) in enumerate(zip(files, titles, strict=True), 1):
        image = mmcv.imread(str(file))
        height, width = image.shape[:2]
        scale = min(_WIDTH / width, _HEIGHT / height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        rles = masks[number - 1] if masks is not None else ()
        small = np.zeros((len(rles), *size[::-1]), np.uint8)
        for k, rle in enumerate(rles):
            whole = mask_utils.decode(rle)
            small[k] = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
        rgb = np.ascontiguousarray(image[..., ::-1])
        painted = paint_masks(
            torch.from_numpy(rgb).permute(2, 0, 1),
            torch.from_numpy(small).bool(),
        )
        # Half the opacity: a person judges the image beneath the masks.
        painted = cv2.addWeighted(painted, 0.5, rgb, 0.5, 0)
        cell = np.full((_TITLE + _HEIGHT, _WIDTH, 3), 255, np.uint8)
        top = _TITLE + (_HEIGHT - size[1]) // 2
        left = (_WIDTH - size[0]) // 2
        cell[top : top + size[1], left : left + size[0]] = painted[..., ::-1]
        cv2.putText(
            cell,
            f'{number}: {title}'[:40],
            (4, _TITLE - 7),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.42,
            (0, 0, 0),
            1,
            cv2.LINE_AA,
        )
        margin = (0, 6), (0, 6), (0, 0)
        cells.append(np.pad(cell, margin, constant_values=255))
    columns = min(columns, len(cells))
    empty = np.full_like(cells[0], 255)
    cells += [empty] * (-len(cells) % columns)
    return np.concatenate(
        [
            np.concatenate(cells[start : start + columns], 1)
            for start in range(0, len(cells), columns)
        ]
    )
