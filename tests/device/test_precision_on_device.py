# SPDX-License-Identifier: Apache-2.0
"""The optimiser's state goes from one precision to another."""

from __future__ import annotations

import pytest
from mmengine.config import Config
from s4m.apis.precision import set_precision
from s4m.engine import SegmentorOptimWrapperConstructor
from torch import nn

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]


def _wrapper(precision: str):
    cfg = Config(
        dict(
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=dict(type='AdamW', lr=0.1),
                clip_grad=dict(max_norm=1.0),
            )
        )
    )
    set_precision(cfg, precision)
    build = SegmentorOptimWrapperConstructor(cfg.optim_wrapper.to_dict())
    net = nn.Linear(2, 2).cuda()
    return net, build(net)


@pytest.mark.parametrize('before', ['bf16', 'fp16', 'off'])
@pytest.mark.parametrize('after', ['bf16', 'fp16', 'off'])
def test_state__of_any_precision_is_loaded(before, after):
    net, old = _wrapper(before)
    old.update_params(net(next(net.parameters())).sum())
    state = old.state_dict()
    _, new = _wrapper(after)
    new.load_state_dict(state)
    steps = [s['step'] for s in new.optimizer.state_dict()['state'].values()]
    assert [float(step) for step in steps] == [1.0, 1.0]
    if after == 'fp16':
        assert new.loss_scaler.get_scale() == 65536.0
