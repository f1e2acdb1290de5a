# SPDX-License-Identifier: Apache-2.0
"""Scalars that are fetched when somebody reads them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from s4m.utils import deferred_scalars
from s4m.utils.deferred_scalars import defer_scalars


@pytest.fixture
def hubs(monkeypatch):
    """A hub whose values wait, and one of MMEngine."""
    monkeypatch.setattr(deferred_scalars, '_is_deferred', lambda _: True)
    return MessageHub('deferred'), MessageHub('plain')


def _log(hubs, **values):
    defer_scalars(hubs[0], values)
    hubs[1].update_scalars(values)


def _is_waiting(hub) -> bool:
    return bool(deferred_scalars._QUEUES[hub]._rows)


def test_values__are_those_of_mmengine_in_its_order(hubs):
    for step in range(5):
        _log(hubs, a=torch.tensor(step + 0.5), b=torch.tensor([2.0 * step]))
        if step == 1:  # A plain number ...
            _log(hubs, c=7)
        if step > 2:  # ... and a value that begins later.
            _log(hubs, a=torch.tensor(9.0), d=torch.tensor(1, dtype=torch.int))
    assert _is_waiting(hubs[0])
    ours, wanted = (hub.log_scalars for hub in hubs)
    assert ours.keys() == wanted.keys()
    assert ours['b'].mean(3) == wanted['b'].mean(3) == 6
    assert not _is_waiting(hubs[0])
    for name, history in wanted.items():
        for a, b in zip(history.data, ours[name].data, strict=True):
            np.testing.assert_array_equal(a, b)
        assert ours[name].current() == history.current()
        assert ours[name].statistics('max', 2) == history.statistics('max', 2)


def test_state__is_mmengines(hubs):
    _log(hubs, a=torch.tensor(3.0))
    _log(hubs, a=torch.tensor(4.0))
    state = pickle.loads(pickle.dumps(hubs[0].state_dict()))
    assert type(state['log_scalars']['a']) is HistoryBuffer
    assert type(copy.deepcopy(hubs[0].log_scalars['a'])) is HistoryBuffer
    resumed = MessageHub('resumed')
    resumed.load_state_dict(state)
    defer_scalars(resumed, dict(a=torch.tensor(5.0)))
    values, counts = resumed.log_scalars['a'].data
    assert values.tolist() == [3, 4, 5] and counts.tolist() == [1, 1, 1]


def test_history__has_mmengines_length(hubs):
    _log(hubs, a=torch.tensor(0.0))
    for hub in hubs:
        hub.log_scalars['a'].max_length = 2
    for step in (1.0, 2.0, 3.0):
        _log(hubs, a=torch.tensor(step))
    assert hubs[0].log_scalars['a'].data[0].tolist() == [2, 3]
    assert hubs[1].log_scalars['a'].data[0].tolist() == [2, 3]


def test_host__is_not_deferred():
    hub = MessageHub('host')
    defer_scalars(hub, dict(a=torch.tensor(1.0)))
    assert type(hub.log_scalars['a']) is HistoryBuffer
