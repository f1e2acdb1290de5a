# SPDX-License-Identifier: Apache-2.0
"""A method of its own: each pseudo-label counts by the teacher's score."""

from mmdet.registry import MODELS
from s4m.models import DistillMask2FormerHead, QueryPseudoLabeler
from s4m.structures import replace_fields


@MODELS.register_module()
class ScoreWeightedLabeler(QueryPseudoLabeler):
    """Weights pseudo-labels by a power of their scores."""

    def __init__(self, power=1.0, **kwargs):
        super().__init__(**kwargs)
        self.power = power

    def forward(self, outputs, batch_data_samples):
        return [
            replace_fields(item, weights=item.scores**self.power)
            for item in super().forward(outputs, batch_data_samples)
        ]


@MODELS.register_module()
class WeightedMask2FormerHead(DistillMask2FormerHead):
    """Weights the classification loss of the query of each target."""

    def _get_targets_single(self, cls_score, mask_pred, gt_instances, meta):
        targets = super()._get_targets_single(
            cls_score, mask_pred, gt_instances, meta
        )
        if 'weights' not in gt_instances:  # labelled images
            return targets
        labels, label_weights, *rest, sampling = targets
        label_weights = label_weights.to(cls_score.dtype)
        assigned = sampling.pos_assigned_gt_inds
        label_weights[sampling.pos_inds] = gt_instances.weights[assigned]
        return labels, label_weights, *rest, sampling
