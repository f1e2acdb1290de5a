# SPDX-License-Identifier: Apache-2.0
"""A method of its own: each pseudo-label counts by the teacher's score."""

from mmdet.registry import MODELS
from s4m.models import QueryPseudoLabeler
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
