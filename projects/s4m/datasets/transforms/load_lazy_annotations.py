# SPDX-License-Identifier: Apache-2.0
"""Annotations whose masks are not decoded while they are loaded."""

from __future__ import annotations

from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import TRANSFORMS

from s4m.structures import LazyMasks


@TRANSFORMS.register_module()
class LoadLazyAnnotations(LoadAnnotations):
    """MMDet's ``LoadAnnotations`` with masks as :class:`LazyMasks`.

    Polygons stay polygons and RLE masks stay RLE until the pipeline's end,
    both in one file if need be. MMDet's ``poly2mask`` decides for all of
    them: True rasterises polygons before they are resized, False drops the
    RLE masks.

    Required, modified and added keys, and arguments, are those of
    ``LoadAnnotations`` but for ``poly2mask``.
    """

    def __init__(self, with_mask: bool = True, **kwargs) -> None:
        super().__init__(with_mask=with_mask, **kwargs)

    def _load_masks(self, results: dict) -> None:
        height, width = results['ori_shape']
        masks = LazyMasks(self._process_masks(results), height, width)
        results['gt_masks'] = masks
