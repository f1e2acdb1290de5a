# SPDX-License-Identifier: Apache-2.0
"""Burn-in, then mean teacher."""

from __future__ import annotations

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner, find_latest_checkpoint
from torch import nn

from s4m.models.detectors import check_fits, load_detector, network_state

_STRATEGIES = ('guided', 'standard', 'fixed')


def _paired_tensors(
    teacher: nn.Module, student: nn.Module
) -> tuple[list[torch.Tensor], ...]:
    """Teacher's and student's tensors of the same names.

    Returns:
        tuple: floating point pairs (parameters and buffers), then the others.

    Raises:
        ValueError: if the two have other names.
    """
    own = {**dict(teacher.named_parameters()), **dict(teacher.named_buffers())}
    other = {
        **dict(student.named_parameters()),
        **dict(student.named_buffers()),
    }
    if own.keys() != other.keys():
        differ = sorted(own.keys() ^ other.keys())[:5]
        raise ValueError(f'Teacher and student differ in {differ}')
    averaged = [n for n, t in own.items() if t.is_floating_point()]
    copied = [n for n, t in own.items() if not t.is_floating_point()]
    return (
        [own[n].detach() for n in averaged],
        [other[n].detach() for n in averaged],
        [own[n] for n in copied],
        [other[n] for n in copied],
    )


@HOOKS.register_module()
class BurnInMeanTeacherHook(Hook):
    """Updates the teacher of a ``SemiInstanceSegmentor``.

    * ``guided`` (`Guided Distillation <https://arxiv.org/abs/2308.02668>`_):
      the teacher stays what it was loaded as for ``burn_in`` iterations; at
      iteration ``burn_in`` the student is copied into it; then it is the
      moving average of the student. ``burn_in=0`` is no burn-in.
    * ``standard`` (Polite Teacher): the same, but without unlabelled images
      during burn-in, so that no teacher is needed.
    * ``fixed`` (Noisy Boundaries): the teacher never changes.

    Parameters and floating point buffers are averaged, other buffers copied,
    all paired by name. The update of iteration i comes before its step; with
    gradient accumulation one update follows each optimiser step.

    Args:
        burn_in (int): Iterations before the copy.
        momentum (float): ``teacher += momentum * (student - teacher)``; the
            papers' decay of 0.9996 is a momentum of 0.0004.
        strategy (str): ``guided``, ``standard`` or ``fixed``.

    Raises:
        ValueError: if an argument is out of range, or the strategy needs a
            teacher and the config names none.
    """

    def __init__(
        self,
        burn_in: int,
        momentum: float = 0.0004,
        strategy: str = 'guided',
    ) -> None:
        if burn_in < 0:
            raise ValueError(f'burn_in must be >= 0, got {burn_in}')
        if not 0 < momentum <= 1:
            raise ValueError(f'momentum must be in 0..1, got {momentum}')
        if strategy not in _STRATEGIES:
            raise ValueError(
                f'strategy must be one of {_STRATEGIES}, got {strategy!r}'
            )
        self.burn_in = burn_in
        self.momentum = momentum
        self.strategy = strategy

    @property
    def needs_teacher(self) -> bool:
        """Whether iteration 0 already uses the loaded teacher."""
        if self.strategy == 'guided':
            return self.burn_in > 0
        return self.strategy == 'fixed'

    def before_run(self, runner: Runner) -> None:
        """Do not read a teacher that is not used or will be resumed."""
        resume_from = runner._resume and (
            runner._load_from or find_latest_checkpoint(runner.work_dir)
        )
        if resume_from or not self.needs_teacher:
            _unwrap(runner.model).teacher_checkpoint = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check ``load_from`` where it is all that the teacher starts from.

        Raises:
            ValueError: if it does not fit the teacher: MMEngine would leave
                random weights in the place of what does not fit.
        """
        model = _unwrap(runner.model)
        # Testing loads too, but builds no training loop.
        training = isinstance(runner._train_loop, BaseLoop)
        is_start = training and not runner._resume
        is_teacher = self.needs_teacher and model.teacher_checkpoint is None
        if is_start and is_teacher:
            state = network_state(checkpoint, 'teacher')
            check_fits(model.teacher, state, runner._load_from)

    def before_train(self, runner: Runner) -> None:
        """Check the teacher and pair the tensors.

        ``load_from`` has come after ``teacher_checkpoint``, and a checkpoint
        of one network fills both: then it is the student's start only.
        """
        model = _unwrap(runner.model)
        if self.needs_teacher and runner.iter == 0:
            if model.teacher_checkpoint is None and runner._load_from is None:
                raise ValueError(
                    f'Strategy {self.strategy!r} starts from a trained '
                    'teacher: set model.teacher_checkpoint to its file or '
                    'work directory.'
                )
            if model.teacher_checkpoint and runner._load_from is not None:
                load_detector(model.teacher, model.teacher_checkpoint)
        self._tensors = _paired_tensors(model.teacher, model.student)
        self._unsup_weight = model.unsup_weight
        self._accumulation = getattr(
            runner.optim_wrapper, '_accumulative_counts', 1
        )
        model.hook_ready(type(self).__name__)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None
    ) -> None:
        """Copy at the end of burn-in, average after it."""
        iteration = runner.iter
        if self.strategy == 'standard':
            model = _unwrap(runner.model)
            burning = iteration < self.burn_in
            model.unsup_weight = 0.0 if burning else self._unsup_weight
        if self.strategy == 'fixed' or iteration < self.burn_in:
            return
        if iteration == self.burn_in:
            self.update(1.0)
        elif iteration % self._accumulation == 0:
            self.update(self.momentum)

    @torch.no_grad()
    def update(self, momentum: float) -> None:
        """Move the teacher towards the student in a few fused kernels."""
        teacher, student, teacher_other, student_other = self._tensors
        if momentum == 1.0:
            torch._foreach_copy_(teacher, student)
        else:
            torch._foreach_lerp_(teacher, student, momentum)
        if teacher_other:
            torch._foreach_copy_(teacher_other, student_other)


def _unwrap(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
