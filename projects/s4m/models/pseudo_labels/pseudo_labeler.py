# SPDX-License-Identifier: Apache-2.0
"""What labellers share: thresholds of classes, duplicates and weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def check_iou_thr(name: str, value: float | None) -> None:
    """Refuse a threshold of IoUs outside 0..1.

    Args:
        name (str): Name of the option.
        value (float, optional): Its value; None switches the option off.

    Raises:
        ValueError: if the value is outside 0..1.
    """
    if value is not None and not (
        isinstance(value, int | float) and 0 <= value <= 1
    ):
        raise ValueError(f'{name} must be in 0..1 or None, got {value!r}')


class PseudoLabeler(nn.Module):
    """Base of the labellers.

    Args:
        thresholds (float | Sequence[float]): Score that a prediction has to
            exceed, one for all classes or one for each.
        size_thr (float): Size in pixels that a mask has to exceed.
        nms_iou_thr (float, optional): IoU above which the mask with the lower
            score is a duplicate, see :func:`~s4m.structures.masks.mask_nms`.
        weight_by (str, optional): One of :attr:`weightings`, the value that
            becomes the field ``weights`` of a pseudo-label.

    Raises:
        ValueError: if an argument is out of range.

    Attributes:
        thr_name (str): Name of the option with the thresholds.
        weightings (tuple[str, ...]): Values of ``weight_by``.
        thresholds (Tensor): (1, ) or (K, ) fp32 thresholds. They are not part
            of checkpoints: they come from the config or from a hook.
    """

    thr_name = 'score_thr'
    weightings: tuple[str, ...] = ('score',)
    thresholds: Tensor

    def __init__(
        self,
        thresholds: float | Sequence[float],
        size_thr: float,
        nms_iou_thr: float | None,
        weight_by: str | None,
    ) -> None:
        super().__init__()
        values = (
            [float(thresholds)]
            if isinstance(thresholds, int | float)
            else [float(v) for v in thresholds]
        )
        if not values or not all(0 <= v <= 1 for v in values):
            raise ValueError(
                f'{self.thr_name} must be in 0..1, one value or one for each '
                f'class, got {thresholds}'
            )
        if size_thr < 0:
            raise ValueError(f'size_thr must be >= 0, got {size_thr}')
        check_iou_thr('nms_iou_thr', nms_iou_thr)
        if weight_by not in (None, *self.weightings):
            raise ValueError(
                f'weight_by must be None or one of {self.weightings}, '
                f'got {weight_by!r}'
            )
        self.size_thr = size_thr
        self.nms_iou_thr = nms_iou_thr
        self.weight_by = weight_by
        self.register_buffer(
            'thresholds', torch.tensor(values), persistent=False
        )

    def set_thresholds(self, thresholds: Tensor) -> None:
        """Replace the thresholds in a running training.

        Args:
            thresholds (Tensor): (1, ) or (K, ) scores to exceed.
        """
        self.thresholds = thresholds.to(self.thresholds)
