# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels on which two views of the teacher agree."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor, nn

from s4m.structures.masks import pairwise_iou

from .pseudo_labeler import check_iou_thr


def mirror_valid_part(maps: Tensor, width: int) -> Tensor:
    """Flip the columns of maps that lie left of the padding.

    Args:
        maps (Tensor): (..., H, W).
        width (int): Number of columns at the left that are not padding.

    Returns:
        Tensor: (..., H, W) with the padding where it was.

    Example:
        >>> mirror_valid_part(torch.tensor([[1, 2, 3, 0]]), 3).tolist()
        [[3, 2, 1, 0]]
    """
    return torch.cat([maps[..., :width].flip(-1), maps[..., width:]], -1)


@MODELS.register_module()
class ViewAgreementPseudoLabeler(nn.Module):
    """Keeps pseudo-labels that the teacher also finds in the mirrored image.

    The teacher and the labeller run twice, on the view and on its horizontal
    mirror image. A pseudo-label of the view stays if one of the mirror image
    has its class and, flipped back, a mask of at least ``iou_thr`` IoU. Both
    runs have the same thresholds. The fields are those of the view.

    Args:
        labeler (dict): Config of the labeller, ``QueryPseudoLabeler`` or
            ``PredictionPseudoLabeler``.
        iou_thr (float): IoU of the two masks that a pseudo-label needs.
            Defaults to 0.5.

    Raises:
        ValueError: if ``iou_thr`` is outside 0..1.

    Example:
        >>> cfg = dict(type='ViewAgreementPseudoLabeler', iou_thr=0.6,
        ...            labeler=dict(type='QueryPseudoLabeler', cls_thr=0.7))
        >>> MODELS.build(cfg).labeler.nms_iou_thr is None
        True
    """

    def __init__(self, labeler: ConfigType, iou_thr: float = 0.5) -> None:
        super().__init__()
        if iou_thr is None:
            raise ValueError('iou_thr must be in 0..1, got None')
        check_iou_thr('iou_thr', iou_thr)
        self.labeler = MODELS.build(labeler)
        self.iou_thr = iou_thr

    @property
    def thresholds(self) -> Tensor:
        """Thresholds of the labeller."""
        return self.labeler.thresholds

    def set_thresholds(self, thresholds: Tensor) -> None:
        """Replace the labeller's thresholds.

        Args:
            thresholds (Tensor): (1, ) or (K, ) scores to exceed.
        """
        self.labeler.set_thresholds(thresholds)

    @torch.no_grad()
    def run_teacher(
        self,
        teacher: BaseDetector,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
    ) -> tuple[Any, Any]:
        """Run the teacher on the views and on their mirror images.

        Args:
            teacher (BaseDetector): The teacher, in eval mode.
            batch_inputs (Tensor): (B, 3, H, W) normalised views.
            batch_data_samples (list[DetDataSample]): Samples with
                ``img_shape``.

        Returns:
            tuple: The labeller's two outputs.
        """
        run = self.labeler.run_teacher
        mirrored = torch.stack(
            [
                mirror_valid_part(view, sample.img_shape[1])
                for view, sample in zip(
                    batch_inputs, batch_data_samples, strict=True
                )
            ]
        )
        return (
            run(teacher, batch_inputs, batch_data_samples),
            run(teacher, mirrored, batch_data_samples),
        )

    @torch.no_grad()
    def forward(
        self, outputs: tuple[Any, Any], batch_data_samples: SampleList
    ) -> InstanceList:
        """Select pseudo-labels.

        Args:
            outputs (tuple): The two outputs of :meth:`run_teacher`.
            batch_data_samples (list[DetDataSample]): Samples with
                ``img_shape`` and ``batch_input_shape``.

        Returns:
            list[InstanceData]: The labeller's pseudo-labels of each view, of
            which some are left out.
        """
        both = (self.labeler(out, batch_data_samples) for out in outputs)
        kept = []
        for item, other, sample in zip(*both, batch_data_samples, strict=True):
            # Masks of a smaller size are flipped to within half a cell.
            scale = item.masks.shape[-1] / sample.batch_input_shape[1]
            width = round(sample.img_shape[1] * scale)
            iou = pairwise_iou(
                item.masks, mirror_valid_part(other.masks, width)
            )
            same = item.labels[:, None] == other.labels[None]
            kept.append(item[((iou >= self.iou_thr) & same).any(1)])
        return kept
