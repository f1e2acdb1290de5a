# SPDX-License-Identifier: Apache-2.0
"""Load images and compare their size with the annotation."""

from __future__ import annotations

from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """MMCV's ``LoadImageFromFile`` that compares the size.

    MMCV rotates a photo with an EXIF orientation, and masks that were drawn
    on the unrotated pixels would silently be misplaced.

    Raises:
        ValueError: if the image has another size than its annotation.

    Example:
        >>> step = dict(type='LoadCheckedImage', backend_args=None)
    """

    def transform(self, results: dict) -> dict | None:
        """Load, and compare with ``height`` and ``width`` if they are known.

        Args:
            results (dict): Sample with ``img_path``.

        Returns:
            dict: The sample with ``img``, ``img_shape`` and ``ori_shape``.
        """
        results = super().transform(results)
        if results is None or results.get('height') is None:
            return results
        said = results['height'], results['width']
        shape = tuple(results['img'].shape[:2])
        if shape != said:
            turned = ' Is it turned by EXIF?' if shape == said[::-1] else ''
            raise ValueError(
                f'{results["img_path"]} is {shape[0]} x {shape[1]} pixels '
                f'(height x width) when it is read, its annotation says '
                f'{said[0]} x {said[1]}.{turned} Correct the annotation, or '
                'save the image again.'
            )
        return results
