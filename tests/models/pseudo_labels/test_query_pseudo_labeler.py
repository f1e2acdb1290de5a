# SPDX-License-Identifier: Apache-2.0
"""QueryPseudoLabeler against a float64 loop."""

from __future__ import annotations

import math

import pytest
import torch
from s4m.models import QueryPseudoLabeler


def test_forward__equals_float64_loop():
    cls_logits = torch.randn(2, 30, 4) * 4
    mask_logits = torch.randn(2, 30, 6, 8) * 3 - 2
    labeler = QueryPseudoLabeler(cls_thr=0.7, size_thr=5)
    early = torch.zeros_like(cls_logits), torch.zeros_like(mask_logits)
    got = labeler(([early[0], cls_logits], [early[1], mask_logits]), [])
    num = 0
    for b in range(2):
        want = []
        for q in range(30):
            logits = cls_logits[b, q].double().tolist()
            total = sum(math.exp(v) for v in logits)
            prob = [math.exp(v) / total for v in logits]
            label = prob.index(max(prob))
            size = sum(
                1 / (1 + math.exp(-v))
                for v in mask_logits[b, q].double().flatten().tolist()
            )
            if label != 3 and prob[label] > 0.7 and size > 5:
                want.append((q, label, prob[label]))
        num += len(want)
        assert got[b].labels.tolist() == [w[1] for w in want]
        assert got[b].scores.tolist() == pytest.approx([w[2] for w in want])
        queries = [w[0] for w in want]
        assert torch.equal(got[b].mask_logits, mask_logits[b, queries])
        assert torch.equal(
            got[b].masks, mask_logits[b, queries].sigmoid() > 0.5
        )
    assert 5 < num < 55


def test_forward__nothing_confident():
    got = QueryPseudoLabeler()(
        ([torch.zeros(1, 3, 4)], [torch.ones(1, 3, 4, 4)]), []
    )
    assert len(got[0]) == 0
    assert got[0].masks.shape == (0, 4, 4)


@pytest.mark.parametrize(
    'options', [dict(cls_thr=1.5), dict(cls_thr=-0.1), dict(size_thr=-1)]
)
def test_init__bad_value(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        QueryPseudoLabeler(**options)
