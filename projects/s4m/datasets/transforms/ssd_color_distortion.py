# SPDX-License-Identifier: Apache-2.0
"""SSD's photometric distortion on bytes."""

from __future__ import annotations

import cv2
import numpy as np
from mmdet.datasets.transforms import PhotoMetricDistortion
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SSDColorDistortion(PhotoMetricDistortion):
    """Photometric distortion that clips to bytes after each operation.

    `SSD <https://arxiv.org/abs/1512.02325>`_ as Mask2Former's Cityscapes
    recipe applies it. Unlike MMDet's ``PhotoMetricDistortion`` it keeps the
    image in uint8 throughout, never swaps channels, and its hue is in
    OpenCV's byte units (0..180 for the full circle).

    Required Keys: img. Modified Keys: img.

    Args:
        brightness_delta (int): Added value.
        contrast_range (tuple[float, float]): Factor.
        saturation_range (tuple[float, float]): Factor.
        hue_delta (int): Shift, of 180.
    """

    def transform(self, results: dict) -> dict:
        """Distort ``img``, (H, W, 3) BGR uint8."""
        image = np.clip(results['img'], 0, 255).astype(np.uint8)
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
        if brightness_flag:
            image = cv2.convertScaleAbs(
                np.clip(image.astype(np.int16) + round(delta), 0, 255)
            )
        if contrast_flag and not contrast_last:
            image = _scale(image, alpha)
        if saturation_flag or hue_flag:
            hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
            if saturation_flag:
                hsv[..., 1] = _scale(hsv[..., 1], saturation)
            if hue_flag:
                shifted = hsv[..., 0].astype(np.int16) + round(hue)
                hsv[..., 0] = shifted % 180
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        if contrast_flag and contrast_last:
            image = _scale(image, alpha)
        results['img'] = image
        return results


def _scale(values: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(values * np.float32(factor), 0, 255).astype(np.uint8)
