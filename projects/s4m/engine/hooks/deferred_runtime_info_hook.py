# SPDX-License-Identifier: Apache-2.0
"""Losses that are fetched when they are logged."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import RuntimeInfoHook
from mmengine.runner import Runner

from s4m.utils.deferred_scalars import defer_scalars


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """MMEngine's ``RuntimeInfoHook`` that does not wait for each loss.

    It replaces ``default_hooks.runtime_info``. The log has the same values.
    """

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Log the outputs of a training step.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Losses by name.
        """
        values = {f'train/{key}': v for key, v in (outputs or {}).items()}
        defer_scalars(runner.message_hub, values)
