# SPDX-License-Identifier: Apache-2.0
"""The log of SSKD's contrast, without a training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from s4m.engine import ContrastiveDiagnosticsHook
from torch import nn


def test_diagnostics__only_on_its_turn():
    """Statistics are asked for before the iteration, logged after it."""
    loss = SimpleNamespace(keep_statistics=False, statistics={})
    model = nn.Module()
    model.loss_contrast = loss
    logged = {}
    runner = SimpleNamespace(
        model=model,
        iter=0,
        message_hub=SimpleNamespace(update_scalar=logged.__setitem__),
    )
    hook = ContrastiveDiagnosticsHook(interval=2)
    hook.before_train(runner)
    asked = []
    for runner.iter in range(4):
        hook.before_train_iter(runner, 0)
        asked.append(loss.keep_statistics)
        if loss.keep_statistics:
            loss.statistics = dict(margin=torch.tensor(0.25))
        hook.after_train_iter(runner, 0)
        assert not loss.keep_statistics and not loss.statistics
    assert asked == [False, True, False, True]
    assert logged == {'train/contrast/margin': 0.25}
    model.loss_contrast = None
    logged.clear()
    hook.before_train(runner)  # an ablation without L_pxl keeps the hook
    hook.before_train_iter(runner, 0)
    hook.after_train_iter(runner, 0)
    assert not logged
    with pytest.raises(ValueError, match='interval'):
        ContrastiveDiagnosticsHook(interval=0)
