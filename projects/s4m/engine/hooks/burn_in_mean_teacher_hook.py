# SPDX-License-Identifier: Apache-2.0
"""Burn-in, then mean teacher."""

from __future__ import annotations

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn

from s4m.models.detectors import SemiInstanceSegmentor
from s4m.utils.checkpoints import (
    load_strictly,
    load_teacher,
    network_state,
)
from s4m.utils.model_wrappers import unwrapped_model

from .single_hook import check_single

_STRATEGIES = ('guided', 'standard', 'fixed')


def _paired_tensors(
    teacher: nn.Module, student: nn.Module
) -> tuple[list[torch.Tensor], ...]:
    """Pair the tensors of teacher and student by name.

    Args:
        teacher (nn.Module): Network that the hook updates.
        student (nn.Module): Network that the teacher is moved towards.

    Returns:
        tuple: Four lists: the teacher's and the student's floating point
        tensors (parameters and buffers), then the teacher's and the student's
        other tensors.

    Raises:
        ValueError: if the names of their tensors differ.
    """
    targets, sources = (
        {**dict(net.named_parameters()), **dict(net.named_buffers())}
        for net in (teacher, student)
    )
    if targets.keys() != sources.keys():
        differ = sorted(targets.keys() ^ sources.keys())[:5]
        raise ValueError(f'Teacher and student differ in {differ}')
    averaged = [n for n, t in targets.items() if t.is_floating_point()]
    copied = [n for n, t in targets.items() if not t.is_floating_point()]
    return (
        [targets[n].detach() for n in averaged],
        [sources[n].detach() for n in averaged],
        [targets[n] for n in copied],
        [sources[n] for n in copied],
    )


@HOOKS.register_module()
class BurnInMeanTeacherHook(Hook):
    """Hook that loads and updates the teacher of a ``SemiInstanceSegmentor``.

    Before training, the hook loads ``model.teacher_checkpoint`` where the
    strategy uses it and the run does not resume.

    * ``guided`` (`Guided Distillation <https://arxiv.org/abs/2308.02668>`_):
      the loaded teacher does not change for ``burn_in`` iterations; at
      iteration ``burn_in`` the student is copied into the teacher; after that
      the teacher is the moving average of the student. ``burn_in=0`` means no
      burn-in.
    * ``standard`` (Polite Teacher): the same schedule, but burn-in uses
      labelled images only, so that no loaded teacher is needed.
    * ``fixed`` (Noisy Boundaries): the teacher never changes.

    Parameters and floating point buffers are averaged, other buffers are
    copied, and all are paired by name. The update of an iteration runs before
    its optimiser step; with gradient accumulation the teacher is updated once
    for each optimiser step.

    Args:
        burn_in (int): Number of iterations before the copy.
        momentum (float): Momentum of
            ``teacher += momentum * (student - teacher)``. Defaults to 0.0004,
            which is a decay of 0.9996 in the papers.
        strategy (str): ``guided``, ``standard`` or ``fixed``. Defaults to
            ``guided``.
        ema_start (int): Number of iterations for which the copy at the end of
            burn-in stays as it is before the moving average begins. Defaults
            to 0.

    Raises:
        ValueError: if an argument is out of range, or ``ema_start`` is given
            for a teacher that is fixed.

    Example:
        >>> hook = HOOKS.build(
        ...     dict(type='BurnInMeanTeacherHook', burn_in=9000))
        >>> hook.momentum, hook.needs_teacher
        (0.0004, True)
    """

    def __init__(
        self,
        burn_in: int,
        momentum: float = 0.0004,
        strategy: str = 'guided',
        ema_start: int = 0,
    ) -> None:
        if burn_in < 0:
            raise ValueError(f'burn_in must be >= 0, got {burn_in}')
        if not 0 < momentum <= 1:
            raise ValueError(f'momentum must be in 0..1, got {momentum}')
        if strategy not in _STRATEGIES:
            raise ValueError(
                f'strategy must be one of {_STRATEGIES}, got {strategy!r}'
            )
        if ema_start < 0:
            raise ValueError(f'ema_start must be >= 0, got {ema_start}')
        if ema_start and strategy == 'fixed':
            raise ValueError(
                f"ema_start={ema_start} has no effect with strategy='fixed', "
                'whose teacher never changes: remove ema_start.'
            )
        self.burn_in = burn_in
        self.momentum = momentum
        self.strategy = strategy
        self.ema_start = ema_start

    @property
    def needs_teacher(self) -> bool:
        """Whether iteration 0 already uses the loaded teacher."""
        if self.strategy == 'guided':
            return self.burn_in > 0
        return self.strategy == 'fixed'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Load the teacher from ``load_from`` without a teacher checkpoint.

        Args:
            runner (Runner): Runner of the training.
            checkpoint (dict): Checkpoint of ``load_from``.

        Raises:
            ValueError: if the model has no teacher, or the checkpoint does
                not fit it. MMEngine, which loads both networks afterwards,
                would leave random weights in place of tensors that do not
                fit.
        """
        # Testing loads a checkpoint too, but builds no training loop.
        training = isinstance(runner._train_loop, BaseLoop)
        if not training or runner._resume:
            return
        model = _segmentor(runner)
        if self.needs_teacher and model.teacher_checkpoint is None:
            load_strictly(
                model.teacher,
                network_state(checkpoint, 'teacher'),
                f'Teacher checkpoint {runner._load_from}',
                hint='Do teacher and student have the same backbone and head?',
            )

    def before_train(self, runner: Runner) -> None:
        """Load the teacher of a training that starts, and pair the tensors.

        MMEngine has read ``load_from`` before, into both networks. Where
        there is a ``teacher_checkpoint``, the teacher is loaded again here,
        so that ``load_from`` holds for the student only.

        Args:
            runner (Runner): Runner of the training.

        Raises:
            FileNotFoundError: if the teacher's checkpoint is missing.
            ValueError: if the run has a second hook of this class, the model
                has no teacher, the checkpoint does not fit, or the strategy
                needs a teacher and the config names no file for it.
        """
        model = _segmentor(runner)
        check_single(
            runner, self, 'mean_teacher', 'each would move the teacher'
        )
        # A resumed run has read the teacher from its checkpoint.
        if self.needs_teacher and runner.iter == 0:
            if model.teacher_checkpoint is not None:
                load_teacher(model.teacher, model.teacher_checkpoint)
            elif runner._load_from is None:
                raise ValueError(
                    f'Strategy {self.strategy!r} starts from a trained '
                    'teacher: set model.teacher_checkpoint to its file or '
                    'work directory.'
                )
        self._tensors = _paired_tensors(model.teacher, model.student)
        self._accumulation = getattr(
            runner.optim_wrapper, '_accumulative_counts', 1
        )

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
    ) -> None:
        """Set the weight of the unsupervised loss, and update the teacher.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
        """
        model = _segmentor(runner)
        iteration = runner.iter
        burning = iteration < self.burn_in
        labelled_only = burning and self.strategy == 'standard'
        model.unsup_weight = (
            0.0
            if labelled_only
            else float(model.semi_train_cfg['unsup_weight'])
        )
        if self.strategy == 'fixed' or burning:
            return
        if iteration == self.burn_in:
            self.update(1.0)
        elif iteration <= self.burn_in + self.ema_start:
            return
        elif iteration % self._accumulation == 0:
            self.update(self.momentum)

    @torch.no_grad()
    def update(self, momentum: float) -> None:
        """Move the teacher towards the student in a few fused kernels.

        Args:
            momentum (float): Share of the distance to the student; 1 copies
                the student.
        """
        teacher, student, teacher_other, student_other = self._tensors
        if momentum == 1.0:
            torch._foreach_copy_(teacher, student)
        else:
            torch._foreach_lerp_(teacher, student, momentum)
        if teacher_other:
            torch._foreach_copy_(teacher_other, student_other)


def _segmentor(runner: Runner) -> SemiInstanceSegmentor:
    """Return the model without the wrapper of distributed training.

    Raises:
        ValueError: if the model has no teacher.
    """
    model = unwrapped_model(runner)
    if not hasattr(model, 'teacher_checkpoint'):
        raise ValueError(
            f'{type(model).__name__} has no teacher: the hook '
            'default_hooks.mean_teacher belongs to a SemiInstanceSegmentor. '
            'Remove the hook, or train a SemiInstanceSegmentor.'
        )
    return model
