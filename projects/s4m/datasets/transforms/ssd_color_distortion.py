# SPDX-License-Identifier: Apache-2.0
"""Apply SSD's photometric distortion to uint8 images."""

from __future__ import annotations

import cv2
import numpy as np
from mmdet.datasets.transforms import PhotoMetricDistortion
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SSDColorDistortion(PhotoMetricDistortion):
    """Distorts colours and rounds to uint8 after each operation.

    This is the distortion of `SSD <https://arxiv.org/abs/1512.02325>`_ as in
    Mask2Former's Cityscapes recipe. Unlike MMDet's
    ``PhotoMetricDistortion``, it keeps the image in uint8 throughout, never
    swaps channels, and measures hue in OpenCV's units (180 is the full
    circle).

    Required Keys: img. Modified Keys: img.

    Args:
        brightness_delta (int): Maximum absolute change of all values.
            Defaults to 32.
        contrast_range (tuple[float, float]): Range of the factor of all
            values. Defaults to (0.5, 1.5).
        saturation_range (tuple[float, float]): Range of the factor of the
            saturation. Defaults to (0.5, 1.5).
        hue_delta (int): Maximum absolute shift of the hue, in half degrees.
            Defaults to 18.

    Example:
        >>> step = dict(type='SSDColorDistortion', hue_delta=9)
        >>> image = np.full((2, 2, 3), 128, np.uint8)
        >>> SSDColorDistortion()(dict(img=image))['img'].dtype
        dtype('uint8')
    """

    def transform(self, results: dict) -> dict:
        """Distort ``img``, (H, W, 3) BGR uint8."""
        image = results['img']
        if image.dtype != np.uint8:
            image = np.clip(image, 0, 255).astype(np.uint8)
        (
            contrast_last,
            brightness_flag,
            contrast_flag,
            saturation_flag,
            hue_flag,
            _,
            delta,
            alpha,
            saturation,
            hue,
            _,
        ) = self._random_flags()
        # Bytes have 256 values: each operation is a table.
        table = _VALUES
        if brightness_flag:
            shifted = table.astype(np.int16) + round(delta)
            table = np.clip(shifted, 0, 255).astype(np.uint8)
        if contrast_flag and not contrast_last:
            table = _scale(table, alpha)
        if saturation_flag or hue_flag:
            image = cv2.cvtColor(
                np.ascontiguousarray(_look_up(image, table)), cv2.COLOR_BGR2HSV
            )
            tables = [_VALUES] * 3
            if hue_flag:
                shifted = _VALUES.astype(np.int16) + round(hue)
                tables[0] = (shifted % 180).astype(np.uint8)
            if saturation_flag:
                tables[1] = _scale(_VALUES, saturation)
            cv2.LUT(image, np.stack(tables, 1)[None], dst=image)
            image = cv2.cvtColor(image, cv2.COLOR_HSV2BGR)
            table = _VALUES
        if contrast_flag and contrast_last:
            table = _scale(table, alpha)
        results['img'] = _look_up(image, table)
        return results


_VALUES = np.arange(256, dtype=np.uint8)


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    if table is _VALUES:
        return image
    return cv2.LUT(np.ascontiguousarray(image), table)


def _scale(values: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(values * np.float32(factor), 0, 255).astype(np.uint8)
