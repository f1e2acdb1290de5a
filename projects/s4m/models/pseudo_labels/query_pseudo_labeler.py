# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels from the raw outputs of a query-based segmenter."""

from __future__ import annotations

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor, nn


@MODELS.register_module()
class QueryPseudoLabeler(nn.Module):
    """Hard pseudo-labels from the confident queries of a MaskFormer.

    As in `Guided Distillation <https://arxiv.org/abs/2308.02668>`_, a query
    becomes a pseudo-label if its class is not "no object", its class
    probability exceeds ``cls_thr`` and its soft mask is larger than
    ``size_thr``. Pseudo-labels are not weighted and may overlap.

    Args:
        cls_thr (float): Softmax probability over K + 1 classes that a query
            has to exceed. Defaults to 0.7.
        size_thr (float): Sum of mask probabilities, in pixels of the (h, w)
            mask logits, that a query has to exceed. Defaults to 5.

    Raises:
        ValueError: if ``cls_thr`` is outside 0..1 or ``size_thr`` negative.

    Example:
        >>> cls_logits = torch.tensor([[[9.0, 0.0], [0.0, 9.0]]])
        >>> mask_logits = torch.ones(1, 2, 4, 4)  # 2 queries
        >>> (item,) = QueryPseudoLabeler()(([cls_logits], [mask_logits]), [])
        >>> item.labels.tolist()
        [0]
    """

    def __init__(self, cls_thr: float = 0.7, size_thr: float = 5.0) -> None:
        super().__init__()
        if not 0 <= cls_thr <= 1:
            raise ValueError(f'cls_thr must be in 0..1, got {cls_thr}')
        if size_thr < 0:
            raise ValueError(f'size_thr must be >= 0, got {size_thr}')
        self.cls_thr = cls_thr
        self.size_thr = size_thr

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
            each image.
        """
        cls_logits, mask_logits = outputs[0][-1], outputs[1][-1].float()
        scores, labels = cls_logits.float().softmax(-1).max(-1)
        keep = labels != cls_logits.shape[-1] - 1
        keep &= scores > self.cls_thr
        keep &= mask_logits.sigmoid().sum((2, 3)) > self.size_thr
        return [
            InstanceData(
                labels=labels[i, valid],
                scores=scores[i, valid],
                mask_logits=mask_logits[i, valid],
                masks=mask_logits[i, valid] > 0,
            )
            for i, valid in enumerate(keep)
        ]
