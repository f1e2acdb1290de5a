# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels from the predictions of any instance segmenter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from s4m.structures.masks import mask_nms
from s4m.structures.selection import kept_indices

from .pseudo_labeler import PseudoLabeler

# Stride of the soft masks that replace mask logits; 4, as in Mask2Former.
_STRIDE = 4
_EPS = 1e-4


@MODELS.register_module()
class PredictionPseudoLabeler(PseudoLabeler):
    """Hard pseudo-labels from ``predict()`` of any MMDet instance segmenter.

    A prediction becomes a pseudo-label if its score exceeds ``score_thr`` and
    its mask has more than ``size_thr`` pixels. The detector's ``test_cfg``
    determines scores, suppression of overlaps and the binarisation of masks.

    Args:
        score_thr (float | Sequence[float]): Score that predictions have to
            exceed, one for all classes or one for each. Defaults to 0.5.
        size_thr (float): Area in pixels of the image that masks have to
            exceed. Defaults to 80.
        nms_iou_thr (float, optional): IoU above which the prediction with the
            lower score is a duplicate, whatever its class. Defaults to None,
            which leaves suppression to the detector's ``test_cfg``.
        weight_by (str, optional): Weight of a pseudo-label in the student's
            losses; ``score`` is the detector's score. Defaults to None, no
            weights.
        weight_range (Sequence[float]): Scores (low, high) at which the weight
            is 0 and 1; it is linear between them. Between the two, an object
            is neither a full label nor, as without a label, background: a
            detector whose scores are low, like RTMDet's, which estimate an
            IoU, needs this. Defaults to (0, 1), where the weight is the
            score.

    Raises:
        ValueError: if an argument is out of range, or ``weight_range`` is
            given without ``weight_by``.

    Example:
        >>> pred = InstanceData(
        ...     labels=torch.tensor([0, 1]),
        ...     scores=torch.tensor([0.9, 0.2]),
        ...     masks=torch.ones(2, 16, 16, dtype=torch.bool))
        >>> sample = DetDataSample(metainfo=dict(batch_input_shape=(32, 32)))
        >>> sample.pred_instances = pred
        >>> (item,) = PredictionPseudoLabeler()([sample], [sample])
        >>> item.labels.tolist(), item.masks.shape
        ([0], torch.Size([1, 32, 32]))
    """

    def __init__(
        self,
        score_thr: float | Sequence[float] = 0.5,
        size_thr: float = 80.0,
        nms_iou_thr: float | None = None,
        weight_by: str | None = None,
        weight_range: Sequence[float] = (0.0, 1.0),
    ) -> None:
        super().__init__(score_thr, size_thr, nms_iou_thr, weight_by)
        low, high = weight_range
        if not 0 <= low < high <= 1:
            raise ValueError(
                'weight_range must be two scores in 0..1, the lower one '
                f'first, got {weight_range}'
            )
        if weight_by is None and (low, high) != (0, 1):
            raise ValueError(
                f'weight_range={weight_range} has no effect without weights: '
                "set weight_by='score'"
            )
        self.weight_range = (float(low), float(high))

    @torch.no_grad()
    def run_teacher(
        self,
        teacher: BaseDetector,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
    ) -> SampleList:
        """Predict at the size of the augmented view.

        Detectors rescale masks to ``ori_shape`` or by ``scale_factor``,
        neither of which accounts for a crop. The view is therefore passed as
        if it were the original image.

        Args:
            teacher (BaseDetector): The teacher, in eval mode.
            batch_inputs (Tensor): (B, 3, H, W) normalised views.
            batch_data_samples (list[DetDataSample]): Samples with
                ``img_shape``.

        Returns:
            list[DetDataSample]: Samples with ``pred_instances``.
        """
        views = [
            DetDataSample(
                metainfo=dict(
                    sample.metainfo,
                    ori_shape=sample.img_shape[:2],
                    scale_factor=(1.0, 1.0),
                )
            )
            for sample in batch_data_samples
        ]
        return teacher.predict(batch_inputs, views, rescale=True)

    @torch.no_grad()
    def forward(
        self, outputs: SampleList, batch_data_samples: SampleList
    ) -> InstanceList:
        """Select pseudo-labels.

        Args:
            outputs (list[DetDataSample]): Samples with ``pred_instances``:
                ``labels`` and ``scores`` (n, ), ``masks`` (n, h, w) bool of
                the valid part of the view.
            batch_data_samples (list[DetDataSample]): Samples with
                ``batch_input_shape`` (H, W).

        Returns:
            list[InstanceData]: ``labels``, ``scores``, ``masks`` (n, H, W)
            bool on the padded view, ``mask_logits`` (n, H / 4, W / 4),
            the logit of the share of each cell that the mask covers, and
            ``weights`` (n, ) where there is a weighting.

        Raises:
            ValueError: if ``score_thr`` has fewer values than classes.
        """
        preds = [output.pred_instances for output in outputs]
        indices = kept_indices([self._is_kept(pred) for pred in preds])
        return [
            self._select(pred, index, sample.batch_input_shape)
            for pred, index, sample in zip(
                preds, indices, batch_data_samples, strict=True
            )
        ]

    def _is_kept(self, pred: InstanceData) -> Tensor:
        """Return (n, ) bool, whether each prediction becomes a label."""
        # MMDet's SOLO has labels in fp32 where it finds nothing.
        labels = pred.labels.long()
        thresholds = self.thresholds
        if len(thresholds) > 1:
            if len(pred) and int(labels.max()) >= len(thresholds):
                raise ValueError(
                    f'score_thr has {len(thresholds)} values, but there is a '
                    f'class {int(labels.max())}'
                )
            thresholds = thresholds[labels]
        masks = pred.masks.bool()
        area = masks.sum((1, 2), dtype=torch.int32)
        keep = (pred.scores > thresholds) & (area > self.size_thr)
        if self.nms_iou_thr is None:
            return keep
        return mask_nms(masks, pred.scores, self.nms_iou_thr, keep)

    def _select(
        self, pred: InstanceData, index: Tensor, padded: tuple[int, int]
    ) -> InstanceData:
        item = InstanceData(
            labels=pred.labels[index].long(),
            scores=pred.scores[index],
            masks=pred.masks[index].bool(),
        )
        height, width = item.masks.shape[-2:]
        item.masks = F.pad(
            item.masks, (0, padded[1] - width, 0, padded[0] - height)
        )
        share = F.avg_pool2d(
            item.masks[:, None].float(), _STRIDE, ceil_mode=True
        )[:, 0]
        item.mask_logits = share.clamp(_EPS, 1 - _EPS).logit()
        if self.weight_by == 'score':
            low, high = self.weight_range
            item.weights = ((item.scores - low) / (high - low)).clamp(0, 1)
        return item
