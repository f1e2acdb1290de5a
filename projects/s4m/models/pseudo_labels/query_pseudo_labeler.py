# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels from the raw outputs of a query-based segmenter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from s4m.structures.masks import mask_nms
from s4m.structures.selection import kept_indices

from .pseudo_labeler import PseudoLabeler


@MODELS.register_module()
class QueryPseudoLabeler(PseudoLabeler):
    """Hard pseudo-labels from the confident queries of a MaskFormer.

    As in `Guided Distillation <https://arxiv.org/abs/2308.02668>`_, a query
    becomes a pseudo-label if its class is not "no object", its class
    probability exceeds ``cls_thr`` and its soft mask is larger than
    ``size_thr``. By default, pseudo-labels are not weighted and may overlap.

    Args:
        cls_thr (float | Sequence[float]): Softmax probability over K + 1
            classes that a query has to exceed, one for all classes or one for
            each of the K. Defaults to 0.7.
        size_thr (float): Sum of mask probabilities, in pixels of the (h, w)
            mask logits, that a query has to exceed. Defaults to 5.
        nms_iou_thr (float, optional): IoU above which the query with the
            lower class probability is a duplicate, whatever its class.
            Defaults to None, which keeps duplicates.
        weight_by (str, optional): Weight of a pseudo-label in the student's
            losses: ``score`` is its class probability, ``mask_score`` is the
            class probability times the mean probability of the mask's
            pixels, which is Mask2Former's score at inference. Defaults to
            None, no weights.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> cls_logits = torch.tensor([[[9.0, 0.0], [0.0, 9.0]]])
        >>> mask_logits = torch.ones(1, 2, 4, 4)  # 2 queries
        >>> (item,) = QueryPseudoLabeler()(([cls_logits], [mask_logits]), [])
        >>> item.labels.tolist()
        [0]
    """

    thr_name = 'cls_thr'
    weightings = ('score', 'mask_score')

    def __init__(
        self,
        cls_thr: float | Sequence[float] = 0.7,
        size_thr: float = 5.0,
        nms_iou_thr: float | None = None,
        weight_by: str | None = None,
    ) -> None:
        super().__init__(cls_thr, size_thr, nms_iou_thr, weight_by)

    @torch.no_grad()
    def run_teacher(
        self,
        teacher: BaseDetector,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run the teacher without its post-processing.

        Args:
            teacher (BaseDetector): The teacher, in eval mode.
            batch_inputs (Tensor): (B, 3, H, W) normalised views.
            batch_data_samples (list[DetDataSample]): Samples of the views.

        Returns:
            tuple: Lists of class and of mask logits, as for :meth:`forward`.
        """
        return teacher(batch_inputs, batch_data_samples, mode='tensor')

    @torch.no_grad()
    def forward(
        self,
        outputs: tuple[list[Tensor], list[Tensor]],
        batch_data_samples: SampleList,
    ) -> InstanceList:
        """Select pseudo-labels.

        Args:
            outputs (tuple): Lists, one item for each decoder layer, of
                (B, Q, K + 1) class logits and (B, Q, h, w) mask logits. Only
                the last layer's are used.
            batch_data_samples (list[DetDataSample]): Not used.

        Returns:
            list[InstanceData]: ``labels`` (n, ), ``scores`` (n, ),
            ``mask_logits`` (n, h, w) fp32 and ``masks`` (n, h, w) bool of
            each image, and ``weights`` (n, ) where there is a weighting.

        Raises:
            ValueError: if ``cls_thr`` has another number of values than there
                are classes.
        """
        cls_logits, mask_logits = outputs[0][-1], outputs[1][-1].float()
        num_classes = cls_logits.shape[-1] - 1
        if len(self.thresholds) not in (1, num_classes):
            raise ValueError(
                f'cls_thr has {len(self.thresholds)} values, but the teacher '
                f'has {num_classes} classes: give one value or one for each.'
            )
        scores, labels = cls_logits.float().softmax(-1).max(-1)
        keep = labels != num_classes
        # "No object" has no threshold; any value does for it.
        thresholds = self.thresholds.expand(num_classes)
        keep &= scores > thresholds[labels.clamp(max=num_classes - 1)]
        keep &= mask_logits.sigmoid().sum((2, 3)) > self.size_thr
        if self.nms_iou_thr is not None:
            # For all queries at once: n is unknown to the host until below.
            keep = mask_nms(mask_logits > 0, scores, self.nms_iou_thr, keep)
        instances = []
        for i, index in enumerate(kept_indices(keep)):
            logits = mask_logits[i, index]
            item = InstanceData(
                labels=labels[i, index],
                scores=scores[i, index],
                mask_logits=logits,
                masks=logits > 0,
            )
            instances.append(self._weighted(item))
        return instances

    def _weighted(self, item: InstanceData) -> InstanceData:
        """Add the weights, where there are any, to new pseudo-labels."""
        if self.weight_by == 'score':
            item.weights = item.scores
        elif self.weight_by == 'mask_score':
            inside = (item.mask_logits.sigmoid() * item.masks).sum((1, 2))
            item.weights = item.scores * (
                inside / item.masks.sum((1, 2)).clamp(min=1)
            )
        return item
