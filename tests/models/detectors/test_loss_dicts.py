# SPDX-License-Identifier: Apache-2.0
"""Losses are scaled and added as MMDet and MMEngine do."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.utils import reweight_loss_dict
from mmengine.model import BaseModel
from s4m.models.detectors.loss_dicts import add_losses, scale_losses


class _Model(BaseModel):
    def forward(self):
        """Not called."""


def _losses() -> dict:
    torch.manual_seed(0)
    scalars = {f'd{i}.loss_cls': torch.rand((), requires_grad=True)
               for i in range(3)}  # fmt: skip
    return scalars | dict(
        loss_box=[torch.rand(2, requires_grad=True), torch.rand(())],
        num_pseudo=torch.tensor(3.0),
        loss_map=torch.rand(4, 4, requires_grad=True),
    )


def _leaves(losses: dict) -> list:
    parts = [v if isinstance(v, list) else [v] for v in losses.values()]
    return [p for part in parts for p in part if p.requires_grad]


@pytest.mark.parametrize('weight', [1, 0.3, 0.0])
def test_losses__equal_mmdets(weight):
    ours, theirs = _losses(), _losses()
    scaled = scale_losses(dict(ours), weight)
    wanted = reweight_loss_dict(dict(theirs), weight)
    assert list(scaled) == list(wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(scaled[name], value, rtol=0, atol=0)
    total, log = add_losses(scaled)
    expected, wanted_log = _Model().parse_losses(wanted)
    assert list(log) == list(wanted_log)
    for name, value in wanted_log.items():
        torch.testing.assert_close(log[name], value)
    total.backward()
    expected.backward()
    for a, b in zip(_leaves(ours), _leaves(theirs), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_not_a_loss__raises():
    with pytest.raises(TypeError, match='loss_cls of a detector must be'):
        add_losses(dict(loss_cls=1.0))
