# SPDX-License-Identifier: Apache-2.0
"""Random numbers of each process: their seeds and their states."""

from __future__ import annotations

from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from s4m.utils.random_states import (
    get_random_state,
    seed_generators,
    set_random_state,
)


def _reseed_samplers(loader: DataLoader, old: int, new: int) -> None:
    """Replace the seed that a loader's samplers were built with.

    A sampler whose config names another seed keeps that one.
    """
    inner = getattr(loader.batch_sampler, 'sampler', None)
    # PyTorch's sampler classes do not declare a seed.
    samplers: tuple[Any, ...] = (loader.sampler, loader.batch_sampler, inner)
    for sampler in samplers:
        if getattr(sampler, 'seed', None) == old:
            sampler.seed = new


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Hook that seeds each process differently, and resumes random states.

    * MMEngine seeds all processes alike, so that they build equal networks.
      Before training this hook seeds each process by (seed, rank, iteration):
      otherwise the images of all processes would get the same augmentation
      and the losses the same points.
    * The checkpoint holds the random states of all processes, and a run that
      resumes with as many processes continues from them. Validation does not
      change the states.
    * MMEngine builds the training loader before it reads the seed of the
      checkpoint. This hook hands the seed to the samplers, so that a run
      whose config names no seed resumes the same order of images.

    Together with augmentation that is seeded by the draw (``SemiDataset``),
    a resumed run equals an uninterrupted one bit for bit where the arithmetic
    is deterministic.
    """

    def __init__(self) -> None:
        self._start_seed: int | None = None
        #: States of all processes; None where there is only one.
        self._gathered: list[dict] | None = None
        self._restore: dict | None = None
        #: State of this process before the validation that runs.
        self._before_val: dict | None = None

    def before_run(self, runner: Runner) -> None:
        """Remember the seed that the training loader was built with.

        Args:
            runner (Runner): Runner of the training.
        """
        self._start_seed = runner.seed

    def before_train(self, runner: Runner) -> None:
        """Seed the samplers of a resumed run, then this process.

        Args:
            runner (Runner): Runner of the training.
        """
        if self._start_seed not in (None, runner.seed):
            _reseed_samplers(
                runner.train_dataloader, self._start_seed, runner.seed
            )
        seed_generators((runner.seed, get_rank(), runner.iter))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Collect the states of all processes where a checkpoint is due.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Not used.
        """
        if self.is_last_train_iter(runner) or any(
            self.every_n_train_iters(runner, hook.interval)
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook) and not hook.by_epoch
        ):
            self.gather()

    def after_train_epoch(self, runner: Runner) -> None:
        """Collect the states of all processes for a checkpoint by epoch.

        Args:
            runner (Runner): Runner of the training.
        """
        self.gather()

    def gather(self) -> None:
        """Collect the states of all processes for the next checkpoint."""
        if get_world_size() > 1:
            self._gathered = all_gather_object(get_random_state())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the states of all processes to the checkpoint.

        Args:
            runner (Runner): Runner of the training.
            checkpoint (dict): Checkpoint, changed in place.
        """
        if get_world_size() == 1:
            state = self._before_val or get_random_state()
            checkpoint['random_states'] = [state]
        elif self._gathered is not None:
            checkpoint['random_states'] = self._gathered

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the state of this process until the first iteration.

        Args:
            runner (Runner): Runner of the training.
            checkpoint (dict): Checkpoint that MMEngine has read.
        """
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
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
    ) -> None:
        """Restore the state of a resumed run before its first iteration.

        The start-up draws random numbers, so the state is not restored
        earlier.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
        """
        if self._restore is not None:
            set_random_state(self._restore)
            self._restore = None

    def before_val(self, runner: Runner) -> None:
        """Remember the states from which the training continues.

        The checkpoint of a new best score, which is written after the
        validation, holds these states too.

        Args:
            runner (Runner): Runner of the training.
        """
        self._before_val = get_random_state()
        self.gather()

    def after_val(self, runner: Runner) -> None:
        """Restore the state that this process had before the validation.

        Args:
            runner (Runner): Runner of the training.
        """
        if self._before_val is not None:
            set_random_state(self._before_val)
            self._before_val = None
