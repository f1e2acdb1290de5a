# SPDX-License-Identifier: Apache-2.0
"""Saves and stops when the process is asked to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from .random_state_hook import RandomStateHook

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@HOOKS.register_module()
class StopSignalHook(Hook):
    """Hook that saves a checkpoint at Ctrl-C or SIGTERM, and ends the run.

    A cluster or a spot machine sends SIGTERM before it kills. The current
    iteration is finished and saved, so that ``--resume`` continues there; a
    second signal ends the process at once. Several processes agree every
    ``interval`` iterations, since all take part in what is saved.

    The exit status is 128 plus the number of the signal, as a shell has it.
    Without a checkpoint hook nothing is saved. In another thread than the
    main one, which cannot have handlers, the hook does nothing.

    Args:
        interval (int): Iterations between two agreements of several
            processes. One process stops after any iteration. Defaults to 10.

    Raises:
        ValueError: if the interval is less than 1.

    Example:
        >>> hook = HOOKS.build(dict(type='StopSignalHook'))
        >>> hook.interval
        10
    """

    #: After the checkpoint hook, which may have saved this iteration.
    priority = 'LOWEST'

    def __init__(self, interval: int = 10) -> None:
        if interval < 1:
            raise ValueError(f'interval must be >= 1, got {interval}')
        self.interval = interval
        self._received = 0
        self._former: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Begin to listen.

        Args:
            runner (Runner): Runner of the training.
        """
        self._received = 0
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            self._former[number] = signal.signal(number, self._remember)

    def after_train(self, runner: Runner) -> None:
        """Stop listening.

        Args:
            runner (Runner): Not used.
        """
        self._stop_listening()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Save and end if a signal has come.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Not used.

        Raises:
            SystemExit: if a signal has come.
        """
        number = self._agreed(runner)
        if not number:
            return
        name, step = signal.Signals(number).name, runner.iter + 1
        saved = 'nothing was saved, since there is no checkpoint hook'
        for hook in runner.hooks:
            if isinstance(hook, RandomStateHook):
                hook.gather()
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and not hook.by_epoch:
                hook._save_checkpoint(runner)
                saved = f'saved {hook.last_ckpt}; --resume goes on there'
        runner.logger.warning(f'{name} at iteration {step}: {saved}')
        self._stop_listening()
        raise SystemExit(128 + number)

    def _agreed(self, runner: Runner) -> int:
        """Return the signal of any process, 0 if none has one."""
        if get_world_size() == 1:
            return self._received
        if not self.every_n_train_iters(runner, self.interval):
            return 0
        received = torch.tensor(self._received)
        if torch.cuda.is_available():
            received = received.cuda()
        all_reduce(received, 'max')
        return int(received)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; the handlers of before get the next one."""
        self._received = number
        self._stop_listening()

    def _stop_listening(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former.clear()
