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
    cells, bottoms = [], []
    for number, (file, title) in enumerate(zip(files, titles, strict=True), 1):
        image = mmcv.imread(str(file))
        height, width = image.shape[:2]
        scale = min(_WIDTH / width, _HEIGHT / height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        rles = masks[number - 1] if masks is not None else ()
        small = np.zeros((len(rles), *size[::-1]), np.uint8)
        for k, rle in enumerate(rles):
            whole = 255 * mask_utils.decode(rle)
            share = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
            # A quarter of a pixel counts, so that small objects stay.
            small[k] = share > 63
        rgb = np.ascontiguousarray(image[..., ::-1])
        painted = paint_masks(
            torch.from_numpy(rgb).permute(2, 0, 1),
            torch.from_numpy(small).bool(),
        )
        # Half the opacity: a person judges the image beneath the masks.
        painted = cv2.addWeighted(painted, 0.5, rgb, 0.5, 0)
        cell = np.full((_TITLE + _HEIGHT, _WIDTH, 3), 255, np.uint8)
        left = (_WIDTH - size[0]) // 2
        bottom = _TITLE + size[1]
        cell[_TITLE:bottom, left : left + size[0]] = painted[..., ::-1]
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
        bottoms.append(bottom + 6)
    columns = min(columns, len(cells))
    empty = np.full_like(cells[0], 255)
    cells += [empty] * (-len(cells) % columns)
    rows = range(0, len(cells), columns)
    return np.concatenate(
        [
            np.concatenate(cells[k : k + columns], 1)[
                : max(bottoms[k : k + columns])
            ]
            for k in rows
        ]
    )
