# SPDX-License-Identifier: Apache-2.0
"""Selection of pseudo-labels among the predictions of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mmcv
import torch
from mmdet.structures import DetDataSample
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import nn

from s4m.structures.masks import pairwise_iou, topmost

from .prediction_pseudo_labeler import PredictionPseudoLabeler

#: IoU above which two masks of one class from different views count as the
#: same object.
_SAME_OBJECT = 0.5
#: Longer side in pixels at which masks of views are compared.
_COMPARED_SIDE = 256


class PredictionSelector:
    """Selects the pseudo-labels of an image among its predictions.

    The steps are, in this order: thresholds, the best ``max_per_image``,
    refinement, and removal of overlaps.

    Args:
        classes (Sequence[str]): Names of the classes, in the order of the
            labels.
        score_thr (float): Score that a prediction has to exceed. Defaults to
            0.3.
        class_thr (Mapping[str, float], optional): Scores to exceed in single
            classes, by name.
        min_area (int): Area in pixels that a mask has to exceed. Defaults to
            0.
        max_per_image (int): Largest number of pseudo-labels. Defaults to 100.
        non_overlapping (bool): Whether a pixel belongs only to the mask with
            the best score. Defaults to False.
        refiner (nn.Module, optional): A ``PseudoLabelRefiner``.
        device (str | torch.device): Device of the predictions. Defaults to
            ``cpu``.

    Raises:
        ValueError: if ``class_thr`` names an unknown class, or a threshold
            is out of range.

    Example:
        >>> selector = PredictionSelector(
        ...     ['person', 'car'], class_thr=dict(person=0.8))
        >>> pred = InstanceData(
        ...     labels=torch.tensor([0, 1]),
        ...     scores=torch.tensor([0.7, 0.4]),
        ...     masks=torch.ones(2, 8, 8, dtype=torch.bool))
        >>> sample = DetDataSample(metainfo=dict(ori_shape=(8, 8)))
        >>> selector(pred, sample).labels.tolist()
        [1]
    """

    def __init__(
        self,
        classes: Sequence[str],
        *,
        score_thr: float = 0.3,
        class_thr: Mapping[str, float] | None = None,
        min_area: int = 0,
        max_per_image: int = 100,
        non_overlapping: bool = False,
        refiner: nn.Module | None = None,
        device: str | torch.device = 'cpu',
    ) -> None:
        class_thr = class_thr or {}
        unknown = sorted(set(class_thr) - set(classes))
        if unknown:
            raise ValueError(
                f'class_thr names {unknown}, which are no classes; there are '
                f'{list(classes)}'
            )
        thresholds = [float(class_thr.get(n, score_thr)) for n in classes]
        self.labeler = PredictionPseudoLabeler(thresholds, min_area).to(device)
        self.max_per_image = max_per_image
        self.non_overlapping = non_overlapping
        self.refiner = refiner

    def __call__(
        self, pred: InstanceData, sample: DetDataSample
    ) -> InstanceData:
        """Select the pseudo-labels of one image.

        Args:
            pred (InstanceData): ``masks`` (n, H, W) bool at the size of the
                image file, ``scores`` and ``labels`` (n, ).
            sample (DetDataSample): Sample with ``ori_shape`` and, where
                masks are refined, ``img_path``.

        Returns:
            InstanceData: At most ``max_per_image`` pseudo-labels.
        """
        view = sample.new()
        view.set_metainfo(dict(batch_input_shape=tuple(sample.ori_shape[:2])))
        view.pred_instances = pred
        (item,) = self.labeler([view], [view])
        best = item.scores.argsort(descending=True, stable=True)
        item = item[best[: self.max_per_image]]
        if self.refiner is not None and len(item):
            rgb = mmcv.imread(sample.img_path, channel_order='rgb')
            rgb = torch.from_numpy(rgb).to(item.masks.device)
            (item,) = self.refiner(rgb.permute(2, 0, 1)[None].float(), [item])
        return remove_overlap(item) if self.non_overlapping else item


def merge_views(views: InstanceList, mirrored: Sequence[bool]) -> InstanceData:
    """Merge the predictions of several views of an image.

    Mirrored masks are flipped back. Among masks of one class with an IoU
    above one half, only the mask with the best score remains.

    Args:
        views (list[InstanceData]): Predictions of each view: ``masks``
            (n, H, W) bool at the size of the image file, ``scores`` and
            ``labels`` (n, ).
        mirrored (Sequence[bool]): Whether each view is mirrored.

    Returns:
        InstanceData: ``masks``, ``scores`` and ``labels``, best score first.
    """
    if len(views) == 1 and not mirrored[0]:
        return views[0]
    masks, scores, labels = (
        torch.cat(parts)
        for parts in zip(
            *(
                (v.masks.flip(-1) if m else v.masks, v.scores, v.labels)
                for v, m in zip(views, mirrored, strict=True)
            ),
            strict=True,
        )
    )
    order = scores.argsort(descending=True, stable=True)
    step = max(1, max(masks.shape[-2:]) // _COMPARED_SIDE)
    small = masks[order][:, ::step, ::step]
    same = pairwise_iou(small, small) > _SAME_OBJECT
    same &= labels[order][:, None] == labels[order][None]
    keep: list[int] = []
    overlaps = same.cpu().numpy()
    for i in range(len(order)):
        if not overlaps[i, keep].any():
            keep.append(i)
    order = order[keep]
    return InstanceData(
        masks=masks[order], scores=scores[order], labels=labels[order]
    )


def remove_overlap(item: InstanceData) -> InstanceData:
    """Assign each pixel to the mask with the best score; drop empty masks.

    Args:
        item (InstanceData): ``masks`` (n, H, W) bool and ``scores`` (n, ).

    Returns:
        InstanceData: New pseudo-labels, worst score first.

    Example:
        >>> item = InstanceData(
        ...     scores=torch.tensor([0.9, 0.5]),
        ...     masks=torch.tensor([[[True, False]], [[True, True]]]))
        >>> remove_overlap(item).masks.tolist()
        [[[False, True]], [[True, False]]]
    """
    item = item[item.scores.argsort(stable=True)]
    order = torch.arange(len(item), device=item.masks.device)
    item.masks = item.masks & (
        topmost(item.masks)[None] == order[:, None, None]
    )
    return item[item.masks.flatten(1).any(1)]
