# SPDX-License-Identifier: Apache-2.0
"""Load annotations without decoding their masks."""

from __future__ import annotations

from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import TRANSFORMS

from s4m.structures import LazyMasks


@TRANSFORMS.register_module()
class LoadLazyAnnotations(LoadAnnotations):
    """MMDet's ``LoadAnnotations`` with masks as :class:`LazyMasks`.

    Polygons stay polygons and RLE masks stay RLE until the end of the
    pipeline, also in one file. MMDet's ``poly2mask`` makes one choice for
    both: True rasterises polygons before they are resized, False drops the
    RLE masks.

    The keys and arguments are the same as in ``LoadAnnotations``, without
    ``poly2mask``.

    Args:
        with_mask (bool): Whether masks are loaded. Defaults to True.
        **kwargs: Other arguments of ``LoadAnnotations``.

    Example:
        >>> step = dict(type='LoadLazyAnnotations', with_bbox=True)
    """

    def __init__(self, with_mask: bool = True, **kwargs) -> None:
        super().__init__(with_mask=with_mask, **kwargs)

    def transform(self, results: dict) -> dict:
        """Load boxes, labels and masks.

        The annotations are dropped from the sample afterwards, since
        ``MultiBranch`` would copy each number of each polygon.

        Args:
            results (dict): Sample with ``instances`` and ``ori_shape``.

        Returns:
            dict: The sample with ``gt_bboxes``, ``gt_bboxes_labels``,
            ``gt_masks`` and ``gt_ignore_flags``, without ``instances``.
        """
        results = super().transform(results)
        results.pop('instances', None)
        return results

    def _load_masks(self, results: dict) -> None:
        height, width = results['ori_shape']
        masks = LazyMasks(self._process_masks(results), height, width)
        results['gt_masks'] = masks
