# SPDX-License-Identifier: Apache-2.0
"""Resize and crop an image at random in one step."""

from __future__ import annotations

import mmcv
import numpy as np
from mmcv.image.geometric import pillow_interp_codes
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomCrop, Resize
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type
from PIL import Image

from s4m.structures import LazyMasks

#: Half width of Pillow's filters, in pixels of the coarser grid.
_SUPPORT = {'nearest': 0.5, 'box': 0.5, 'bilinear': 1, 'hamming': 1}
_SUPPORT.update(bicubic=2, lanczos=3)


@TRANSFORMS.register_module()
class ResizeCrop(Resize):
    """MMDet's ``Resize`` and ``RandomCrop``, which computes the crop only.

    Use it as the ``resize_type`` of MMDet's ``RandomChoiceResize`` or
    ``RandomResize``, which draw the scale. The result equals the two
    transforms with the same random numbers, up to rounding: Pillow holds the
    source region in single precision, so that one value in some hundreds
    differs by a grey level (docs/differences.md).

    detectron2 resizes with Pillow, whose filter widens when an image shrinks;
    OpenCV's filter does not, so that the result aliases.

    Required, modified and added keys are the same as for the two transforms.
    If there are masks, boxes are tight around their visible parts.

    Args:
        crop_size (tuple[int, int]): (width, height) of the crop in pixels; a
            smaller image is not cropped.
        keep_empty (bool): Whether an object without a pixel in the crop stays
            a target, with its class, an empty mask and a box of no size.
            Mask2Former's data mapper for Cityscapes, which Guided
            Distillation and S4M use, keeps such objects; detectors with boxes
            cannot use them. Defaults to False.
        keep_ratio (bool): Whether the aspect ratio stays, as in MMDet's
            ``Resize``. Defaults to True.
        backend (str): ``pillow`` or ``cv2``. Defaults to ``pillow``.
        **kwargs: Other arguments of ``Resize``.

    Raises:
        ValueError: if Pillow lacks the interpolation, or an image is not
            uint8.

    Example:
        >>> step = dict(
        ...     type='RandomChoiceResize',
        ...     scales=[(4096, 512), (4096, 1024)],
        ...     resize_type='ResizeCrop',
        ...     crop_size=(1024, 512),
        ... )
        >>> crop = ResizeCrop((64, 32), crop_size=(16, 16))
        >>> crop(dict(img=np.zeros((64, 128, 3), np.uint8)))['img'].shape
        (16, 16, 3)
    """

    def __init__(
        self,
        *args,
        crop_size: tuple[int, int],
        keep_empty: bool = False,
        keep_ratio: bool = True,
        backend: str = 'pillow',
        **kwargs,
    ) -> None:
        super().__init__(
            *args, keep_ratio=keep_ratio, backend=backend, **kwargs
        )
        if backend == 'pillow' and self.interpolation not in _SUPPORT:
            raise ValueError(
                f'interpolation must be one of {sorted(_SUPPORT)} with '
                f"backend='pillow', got {self.interpolation!r}"
            )
        self.crop = RandomCrop(tuple(crop_size))
        self.keep_empty = keep_empty

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Resize to ``scale`` and crop at random.

        Args:
            results (dict): Sample with ``img``, and perhaps ``gt_bboxes``,
                ``gt_bboxes_labels``, ``gt_masks``, ``gt_ignore_flags`` and
                ``gt_seg_map``.

        Returns:
            dict: The sample with the crop, and ``img_shape``, ``scale``,
            ``scale_factor`` and ``homography_matrix``.
        """
        height, width = results['img'].shape[:2]
        results['scale'] = scale = self.scale or tuple(
            int(length * factor + 0.5)
            for length, factor in zip(
                (width, height), self.scale_factor, strict=True
            )
        )
        size = tuple(scale)
        if self.keep_ratio:
            size = mmcv.rescale_size((width, height), size)
        crop_h, crop_w = self.crop._get_crop_size(size[::-1])
        top, left = self._offset(size[1] - crop_h, size[0] - crop_w)
        box = np.array([left, top, left + crop_w, top + crop_h])

        results['img'] = _resize_region(
            results['img'], size, box, self.interpolation, self.backend
        )
        results['img_shape'] = (crop_h, crop_w)
        results['scale_factor'] = (size[0] / width, size[1] / height)
        results['keep_ratio'] = self.keep_ratio
        self._record_homography_matrix(results)
        shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float32)
        results['homography_matrix'] = shift @ results['homography_matrix']
        if results.get('gt_seg_map') is not None:
            results['gt_seg_map'] = _resize_region(
                results['gt_seg_map'], size, box, 'nearest', self.backend
            )
        self._crop_instances(results, size, box)
        return results

    @cache_randomness
    def _offset(self, down: int, right: int) -> tuple[int, int]:
        """Draw the top and left of the crop."""
        return self.crop._rand_offset((down, right))

    def _crop_instances(
        self, results: dict, size: tuple[int, int], box: np.ndarray
    ) -> None:
        """Crop boxes and masks, and filter labels and flags."""
        valid = np.ones(0, dtype=bool)
        boxes = results.get('gt_bboxes')
        if boxes is not None:
            boxes.rescale_(results['scale_factor'])
            boxes.translate_((-box[0], -box[1]))
            boxes.clip_(results['img_shape'])
            valid = ((boxes.widths > 0) & (boxes.heights > 0)).numpy()
        if results.get('gt_masks') is not None:
            masks = results['gt_masks'].resize(size[::-1]).crop(box)
            results['gt_masks'] = masks
            valid = (
                masks.visible()
                if isinstance(masks, LazyMasks)
                else masks.to_ndarray().any((1, 2))
            )
            if boxes is not None:
                results['gt_bboxes'] = masks.get_bboxes(type(boxes))
        if self.keep_empty or valid.all():
            return
        valid = valid.nonzero()[0]
        for key in (
            'gt_bboxes',
            'gt_masks',
            'gt_bboxes_labels',
            'gt_ignore_flags',
            'gt_instances_ids',
        ):
            if results.get(key) is not None:
                results[key] = results[key][valid]

    def __repr__(self) -> str:
        """Return the arguments of the resizing and of the crop."""
        return (
            f'{super().__repr__()[:-1]}, crop_size={self.crop.crop_size}, '
            f'keep_empty={self.keep_empty})'
        )


def _resize_region(
    image: np.ndarray,
    size: tuple[int, int],
    box: np.ndarray,
    interpolation: str,
    backend: str,
) -> np.ndarray:
    """Compute a box of the resized image from a part of the source.

    Args:
        image (np.ndarray): (H, W) or (H, W, C), uint8 with Pillow.
        size (tuple[int, int]): (width, height) of the whole resized image.
        box (np.ndarray): (4, ) integer (x1, y1, x2, y2) of the result in the
            resized image.
        interpolation (str): Interpolation of ``mmcv.imresize``.
        backend (str): Backend of ``mmcv.imresize``.

    Raises:
        ValueError: if the image is not uint8 and the backend is Pillow.
    """
    if backend != 'pillow':
        image = mmcv.imresize(
            image, size, interpolation=interpolation, backend=backend
        )
        return image[box[1] : box[3], box[0] : box[2]]
    if image.dtype != np.uint8:
        raise ValueError(
            f'Pillow resizes bytes (uint8), got {image.dtype}: resize before '
            "what changes the type, or set backend='cv2'"
        )
    old, new = np.array([image.shape[1], image.shape[0]]), np.array(size)
    step = old / new
    # Ties between two grey levels are common where the ratio is simple. From
    # a multiple of its period, the source is at whole pixels and ties fall
    # as in the whole image.
    period = new // np.gcd(old, new)
    period[period > 32] = 1
    start = box[:2] // period * period
    stop = -(-box[2:] // period) * period
    low, high = start * step, stop * step
    # Filters reach beyond the box, and widen when the image shrinks.
    reach = np.ceil(_SUPPORT[interpolation] * np.maximum(step, 1)) + 1
    first = np.maximum(np.floor(low - reach), 0).astype(int)
    last = np.minimum(np.ceil(high + reach), old).astype(int)
    region = image[first[1] : last[1], first[0] : last[0]]
    # The end of the last column may lie beyond the image by rounding.
    bounds = np.clip(
        [*(low - first), *(high - first)], 0, [*(last - first)] * 2
    )
    resized = Image.fromarray(np.ascontiguousarray(region)).resize(
        tuple((stop - start).tolist()),
        pillow_interp_codes[interpolation],
        box=tuple(bounds.tolist()),
    )
    (left, top), (right, bottom) = box[:2] - start, box[2:] - start
    return np.array(resized)[top:bottom, left:right]
