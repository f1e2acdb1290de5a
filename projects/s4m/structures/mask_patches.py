# SPDX-License-Identifier: Apache-2.0
"""Pixels of a mask in its tight box, and what makes them from an RLE."""

from __future__ import annotations

import cv2
import numpy as np
from pycocotools import mask as mask_utils

#: Top and left of an object's box in pixels, and its (h, w) uint8 pixels.
Patch = tuple[int, int, np.ndarray]
EMPTY: Patch = (0, 0, np.zeros((0, 0), dtype=np.uint8))


def paste(patches: list[Patch], height: int, width: int) -> np.ndarray:
    """Make (N, H, W) uint8 masks from the pixels of their boxes."""
    masks = np.zeros((len(patches), height, width), dtype=np.uint8)
    for mask, (top, left, pixels) in zip(masks, patches, strict=True):
        h, w = pixels.shape
        mask[top : top + h, left : left + w] = pixels
    return masks


def trimmed(columns: np.ndarray, top: int, left: int) -> Patch:
    """Trim (w, h) pixels, which are stored by column, to their tight box."""
    x, y = np.flatnonzero(columns.any(1)), np.flatnonzero(columns.any(0))
    if not len(x):
        return EMPTY
    box = columns[x[0] : x[-1] + 1, y[0] : y[-1] + 1]
    pixels = cv2.transpose(np.ascontiguousarray(box))
    return int(top + y[0]), int(left + x[0]), pixels


def compressed(rle: dict, height: int, width: int) -> dict:
    """Compress an RLE: pycocotools computes the boxes of compressed ones.

    Raises:
        ValueError: if the RLE and its image differ in size.
    """
    if list(rle['size']) != [height, width]:
        raise ValueError(
            f'an RLE mask has {rle["size"][0]} x {rle["size"][1]} pixels '
            f'(height x width), its image {height} x {width}'
        )
    if isinstance(rle['counts'], list):
        return mask_utils.frPyObjects(rle, height, width)
    return rle


def decode_columns(rle: dict, start: int, stop: int) -> np.ndarray:
    """Decode the columns start..stop of a compressed RLE.

    Returns:
        np.ndarray: (stop - start, H) uint8.
    """
    height = rle['size'][0]
    ends = _run_lengths(rle['counts']).cumsum()
    ends = ends.clip(start * height, stop * height)
    values = (np.arange(len(ends)) % 2).astype(np.uint8)
    lengths = np.diff(ends, prepend=start * height)
    return values.repeat(lengths).reshape(stop - start, height)


def _run_lengths(counts: bytes | str) -> np.ndarray:
    """Read the run lengths of a compressed RLE.

    A number has 5 bits in each of its characters (plus 48), the lowest
    first; a further bit says that another character follows. From the fourth
    number on it is the difference to the number two places before.
    """
    data = counts.encode() if isinstance(counts, str) else counts
    chars = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((chars & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends - starts + 1
    shift = 5 * (np.arange(len(chars)) - starts.repeat(sizes))
    lengths = np.add.reduceat((chars & 31) << shift, starts)
    lengths -= ((chars[ends] & 16) > 0) * (1 << 5 * sizes)
    lengths[1::2] = lengths[1::2].cumsum()
    lengths[2::2] = lengths[2::2].cumsum()
    return lengths


def nearest(old: int, new: int) -> np.ndarray:
    """Find the source position of each of ``new`` positions.

    Pixel centres are compared. Their coordinates are summed step by step, as
    in Pillow, so that ties are broken alike.
    """
    steps = np.full(new, old / new)
    steps[:1] /= 2
    return np.minimum(np.cumsum(steps).astype(np.int64), old - 1)


def within(positions: np.ndarray, start: float, length: float) -> slice:
    """Select the monotone positions that lie in start..start + length."""
    inside = (positions >= start) & (positions < start + length)
    (index,) = inside.nonzero()
    return slice(index[0], index[-1] + 1) if len(index) else slice(0, 0)
