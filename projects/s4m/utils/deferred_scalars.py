# SPDX-License-Identifier: Apache-2.0
"""Logged values that stay on the device until somebody reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor


def defer_scalars(hub: MessageHub, values: Mapping[str, Any]) -> None:
    """Log values as ``hub.update_scalars`` does, without a wait of the host.

    MMEngine fetches each value in each iteration. Here those on a device stay
    there until the log, a checkpoint or a hook reads one of them; then all
    arrive in one copy.

    Args:
        hub (MessageHub): Hub of a runner.
        values (Mapping[str, Any]): Numbers or tensors with one value, by
            their names in the hub.

    Example:
        >>> hub = MessageHub.get_instance('example')
        >>> defer_scalars(hub, {'train/loss': torch.tensor(2.0)})
        >>> float(hub.get_scalar('train/loss').current())
        2.0
    """
    deferred = {}
    for name, value in values.items():
        if isinstance(value, Tensor) and _is_deferred(value):
            deferred[name] = value.detach().float().reshape(())
        else:
            hub.update_scalar(name, value)
    if not deferred:
        return
    queue = _QUEUES.setdefault(hub, _Queue())
    for name in deferred:
        hub._set_resumed_keys(name, True)
        buffer = hub.log_scalars.get(name)
        if not isinstance(buffer, DeferredHistory):
            values_so_far = ((), ()) if buffer is None else buffer.data
            hub.log_scalars[name] = DeferredHistory(queue, *values_so_far)
    histories = [hub.log_scalars[name] for name in deferred]
    queue.add(histories, torch.stack(list(deferred.values())))


def _is_deferred(value: Tensor) -> bool:
    return value.device.type != 'cpu'


class DeferredHistory(HistoryBuffer):
    """History of a value whose latest entries may be on the device.

    Whoever reads it, also a method that a user has registered, gets all
    entries. Pickled or copied, it is an ordinary ``HistoryBuffer``.

    Args:
        queue (_Queue): Entries that have not been fetched yet.
        log_history (Sequence): Values so far.
        count_history (Sequence): Their counts.
    """

    def __init__(self, queue: _Queue, log_history: Any, count_history: Any):
        self._queue = queue
        super().__init__(log_history, count_history)

    @property
    def _log_history(self) -> np.ndarray:
        self._queue.fetch()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self._queue.fetch()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def extend(self, values: np.ndarray) -> None:
        """Append fetched values, each with a count of 1.

        Args:
            values (np.ndarray): (n, ) values, the oldest first.
        """
        ones = np.ones(len(values), dtype=np.int64)
        self._values = np.append(self._values, values)[-self.max_length :]
        self._counts = np.append(self._counts, ones)[-self.max_length :]

    def __reduce__(self) -> tuple:
        return HistoryBuffer, (self._log_history, self._count_history)


class _Queue:
    """Rows of values on the device, in the order in which they came."""

    def __init__(self) -> None:
        self._rows: list[tuple[list[DeferredHistory], Tensor]] = []

    def add(self, histories: list[DeferredHistory], row: Tensor) -> None:
        self._rows.append((histories, row))

    def fetch(self) -> None:
        """Copy all values to the host and give them to their histories."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        host = torch.cat([row for _, row in rows]).cpu().numpy()
        new: dict[DeferredHistory, list[float]] = {}
        owners = (history for histories, _ in rows for history in histories)
        for history, value in zip(owners, host, strict=True):
            new.setdefault(history, []).append(value)
        for history, values in new.items():
            history.extend(np.array(values, dtype=np.float64))


_QUEUES: WeakKeyDictionary[MessageHub, _Queue] = WeakKeyDictionary()
