# SPDX-License-Identifier: Apache-2.0
"""Count which objects pseudo-labels match."""

from __future__ import annotations

import torch
from mmengine.structures import InstanceData
from torch import Tensor


class LabelMatches:
    """Counts pseudo-labels by the object that they overlap best.

    Each pseudo-label is one of three: it *matches* an object, which means an
    IoU of at least ``iou_thr`` and a higher score than the other labels of
    this object; it is a *second* label of a matched object; or it is a label
    *without an object*, whose IoU with all objects is lower. A group of
    objects (COCO's ``iscrowd``) does not count as an object.

    Args:
        iou_thr (float): Least IoU with an object. Defaults to 0.5.

    Attributes:
        sums (Tensor): (6, ) fp64 on the host: numbers of images, matching
            labels, second labels, labels without an object and matching
            labels of a wrong class, and the sum of the matching labels'
            IoUs. The sums of several processes can be added.

    Example:
        >>> matches = LabelMatches()
        >>> pred = InstanceData(
        ...     labels=torch.tensor([0, 0]), scores=torch.tensor([0.9, 0.8]))
        >>> iou, index = torch.tensor([0.75, 0.5]), torch.tensor([0, 0])
        >>> matches.add(pred, torch.tensor([0]), iou, index)
        >>> matches.figures()['matched'], matches.figures()['second']
        (1.0, 1.0)
    """

    def __init__(self, iou_thr: float = 0.5) -> None:
        self.iou_thr = iou_thr
        self.sums = torch.zeros(6, dtype=torch.float64)

    def add(
        self,
        pred: InstanceData,
        object_labels: Tensor,
        iou: Tensor,
        index: Tensor,
    ) -> None:
        """Add one image.

        Args:
            pred (InstanceData): ``labels`` and ``scores`` (n, ).
            object_labels (Tensor): (m, ) classes of the objects.
            iou (Tensor): (n, ) IoU with the object of the best overlap, as
                :func:`~s4m.evaluation.pseudo_label_quality.best_overlap`
                returns it, on the host.
            index (Tensor): (n, ) index of this object, -1 for none.
        """
        order = pred.scores.cpu().argsort(descending=True, stable=True)
        order = order[iou[order] >= self.iou_thr]
        which = index[order]
        second = (which[:, None] == which).tril(-1).any(1)
        first = order[~second]
        right = pred.labels.cpu()[first] == object_labels.cpu()[index[first]]
        self.sums += torch.tensor(
            [
                1,
                len(first),
                second.sum(),
                len(iou) - len(order),
                (~right).sum(),
                iou[first].sum(),
            ],
            dtype=torch.float64,
        )

    def figures(self) -> dict[str, float]:
        """Return the counts as means per image, and the masks' IoU.

        Returns:
            dict[str, float]: ``matched``, ``second``, ``without_object`` and
            ``wrong_class`` per image and, if a label matches, ``matched_iou``,
            the mean IoU of the matching labels in percent. Empty without an
            image.
        """
        return figures_of(self.sums)


def figures_of(sums: Tensor) -> dict[str, float]:
    """Compute :meth:`LabelMatches.figures` from added sums.

    Args:
        sums (Tensor): (6, ), as :attr:`LabelMatches.sums`.
    """
    images, *counts, ious = sums.tolist()
    if images == 0:
        return {}
    names = ('matched', 'second', 'without_object', 'wrong_class')
    figures = {
        name: count / images for name, count in zip(names, counts, strict=True)
    }
    if counts[0]:
        figures['matched_iou'] = 100 * ious / counts[0]
    return figures
