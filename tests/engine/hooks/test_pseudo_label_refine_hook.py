# SPDX-License-Identifier: Apache-2.0
"""The log of the refinement, without a training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import InstanceData
from s4m.engine import PseudoLabelRefineHook
from torch import nn


def test_refine_hook__watches_and_leaves():
    """Means over all pseudo-labels of the batch, from the refiner's output."""

    class Refiner(nn.Module):
        def forward(self, rgb, instances):
            return [
                InstanceData(refine_iou=iou, refined=refined)
                for iou, refined in instances
            ]

    model, logged = nn.Module(), {}
    model.refiner = Refiner()
    hub = SimpleNamespace(update_scalar=logged.__setitem__)
    runner = SimpleNamespace(model=model, iter=0, message_hub=hub)
    hook = PseudoLabelRefineHook()
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)
    assert not logged  # no unlabelled image in this iteration
    model.refiner(
        torch.zeros(2, 3, 4, 4),
        [
            (torch.tensor([1.0, 0.5]), torch.tensor([True, False])),
            (torch.tensor([0.0]), torch.tensor([False])),
        ],
    )
    hook.after_train_iter(runner, 0)
    assert logged['train/refine_iou'] == pytest.approx(0.5)
    assert logged['train/refine_kept'] == pytest.approx(1 / 3)
    hook.after_train(runner)
    assert not model.refiner._forward_hooks
    model.refiner = None
    logged.clear()
    hook.before_train(runner)  # an ablation without a refiner keeps the hook
    hook.after_train_iter(runner, 0)
    hook.after_train(runner)
    assert not logged


def test_refine_hook__bad_value():
    with pytest.raises(ValueError, match='draw_interval'):
        PseudoLabelRefineHook(draw_interval=-1)
