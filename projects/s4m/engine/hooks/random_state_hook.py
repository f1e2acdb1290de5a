# SPDX-License-Identifier: Apache-2.0
"""Random states in the checkpoint."""

from __future__ import annotations

import random

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner


def get_random_state() -> dict:
    """States of python, numpy, torch and this process's GPU.

    Plain containers and tensors only, so that a checkpoint with it loads
    with ``weights_only=True``.
    """
    name, keys, pos, has_gauss, cached = np.random.get_state()
    state = dict(
        python=random.getstate(),
        numpy=(name, keys.tolist(), pos, has_gauss, cached),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Restore what :func:`get_random_state` returned."""
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state['numpy']
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Makes a resumed run continue the random numbers of the stopped one.

    The states of all ranks are in the checkpoint. Validation does not touch
    them, whether it runs or not. Together with augmentation that is seeded
    by the draw (``SemiDataset``), a resumed run equals an uninterrupted one
    bit for bit where the arithmetic is deterministic.
    """

    def __init__(self) -> None:
        self._gathered: list[dict] | None = None
        self._restore: dict | None = None
        self._before_val: dict | None = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Collect the states of all ranks where a checkpoint is due."""
        if get_world_size() == 1:
            return
        due = self.is_last_train_iter(runner) or any(
            self.every_n_train_iters(runner, hook.interval)
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook)
        )
        if due:
            states = all_gather_object(get_random_state())
            self._gathered = states

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the states, one per rank."""
        if get_world_size() == 1:
            checkpoint['random_states'] = [get_random_state()]
        elif self._gathered is not None:
            checkpoint['random_states'] = self._gathered

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember this rank's state until the first iteration."""
        states = checkpoint.get('random_states')
        if not runner._resume or states is None:
            return
        if len(states) != get_world_size():
            runner.logger.warning(
                f'The checkpoint holds random states of {len(states)} '
                f'processes, this run has {get_world_size()}: it continues '
                'with new random numbers.'
            )
            return
        self._restore = states[get_rank()]

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None
    ) -> None:
        """Restore after everything that start-up draws."""
        if self._restore is not None:
            set_random_state(self._restore)
            self._restore = None

    def before_val(self, runner: Runner) -> None:
        """Keep the states that training continues with."""
        self._before_val = get_random_state()

    def after_val(self, runner: Runner) -> None:
        """Undo what validation drew."""
        if self._before_val is not None:
            set_random_state(self._before_val)
            self._before_val = None
