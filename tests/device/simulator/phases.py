# SPDX-License-Identifier: Apache-2.0
"""Names of the phases of a training step, for the simulator's counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

if TYPE_CHECKING:
    from .recorder import Simulator


class Phases(Hook):
    """Wraps the parts of a step in ``Simulator.phase``.

    Register it last (``runner.register_hook(Phases(sim), 'VERY_LOW')``).
    Counters are cleared before iteration ``skip``, so that what a run does
    once is not counted.

    Args:
        sim (Simulator): Entered already.
        skip (int): Iterations that are not counted. Defaults to 1.
    """

    def __init__(self, sim: Simulator, skip: int = 1) -> None:
        self.sim, self.skip, self.seen = sim, skip, 0

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        """Count what happens inside ``owner.name`` as ``phase``."""
        function, sim = getattr(owner, name), self.sim

        def counted(*args, **kwargs):
            with sim.phase(phase):
                return function(*args, **kwargs)

        object.__setattr__(owner, name, counted)

    def before_train_epoch(self, runner: Runner) -> None:
        """Wrap; every hook has made its parts by now."""
        model, wrap = runner.model, self.wrap
        networks = [model]
        if hasattr(model, 'student'):
            networks = [model.student]
            wrap(model, 'get_pseudo_instances', 'teacher and labelling')
            wrap(model, 'loss_by_gt_instances', 'student, labelled')
            wrap(model, 'loss_by_pseudo_instances', 'student, unlabelled')
            for part in ('refiner', 'copy_paste', 'strong_augment'):
                if getattr(model, part) is not None:
                    wrap(getattr(model, part), 'forward', part)
        elif hasattr(model, 'loss_with_features'):
            wrap(model, 'loss_with_features', 'detector losses')
            wrap(model, '_contrast', 'L_pxl')
        else:
            wrap(model, 'loss', 'loss')
            if hasattr(model, 'distill_targets'):
                wrap(model, 'distill_targets', 'SD targets')
        for network in networks:
            head = getattr(network, 'panoptic_head', None)
            if head is not None:
                wrap(head, 'loss_by_feat', 'matching and losses')
        wrap(model.data_preprocessor, 'forward', 'data preprocessor')
        wrap(model, 'parse_losses', 'parse_losses')
        wrap(runner.optim_wrapper, 'backward', 'backward')
        wrap(runner.optim_wrapper, 'step', 'clip and optimiser')
        for hook in runner.hooks:
            if hook is not self:
                for name in ('before_train_iter', 'after_train_iter'):
                    wrap(hook, name, f'hook {type(hook).__name__}')

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Begin to count."""
        if self.seen == self.skip:
            self.sim.clear()
        self.seen += 1
