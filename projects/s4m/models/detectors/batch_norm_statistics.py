# SPDX-License-Identifier: Apache-2.0
"""Batches that leave the running statistics of BatchNorm as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def check_bn_stats(bn_stats: str, student: nn.Module) -> None:
    """Refuse values of ``bn_stats`` that the student cannot follow.

    Layers with activation checkpointing run again in the backward pass, where
    :func:`untouched_statistics` has ended, and would update the statistics.

    Args:
        bn_stats (str): Images that update the running statistics, ``all`` or
            ``labeled``.
        student (nn.Module): The student, which is set to train mode.

    Raises:
        ValueError: if the value is unknown, or it is ``labeled`` and the
            student has no BatchNorm in train mode or recomputes activations.
    """
    key = 'semi_train_cfg.bn_stats'
    if bn_stats not in ('all', 'labeled'):
        raise ValueError(f"{key} must be 'all' or 'labeled', got {bn_stats!r}")
    if bn_stats == 'all':
        return
    student.train()  # a backbone with norm_eval=True freezes its layers here
    modules = dict(student.named_modules())
    if not any(_records(module) for module in modules.values()):
        raise ValueError(
            f"{key}='labeled' has no effect: no BatchNorm of the student "
            'updates running statistics in training (norm_eval=True?). '
            "Set bn_stats='all'."
        )
    for name, module in modules.items():
        if getattr(module, 'with_cp', False):
            raise ValueError(
                f"{key}='labeled' does not work with activation "
                f'checkpointing, but {name} has with_cp=True. Set '
                "with_cp=False or bn_stats='all'."
            )


def _records(module: nn.Module) -> TypeGuard[_BatchNorm]:
    return (
        isinstance(module, _BatchNorm)
        and module.training
        and module.track_running_stats
    )


@contextmanager
def untouched_statistics(
    network: nn.Module, enabled: bool = True
) -> Iterator[None]:
    """Let BatchNorm normalise by the batch without recording the batch.

    Layers in train mode, ``SyncBatchNorm`` too, use the statistics of the
    batch as always, but neither update running means and variances nor count
    the batch. Layers in eval mode do not change. Gradients are the same.

    Args:
        network (nn.Module): Network that runs inside the context.
        enabled (bool): Whether the context does anything. Defaults to True.

    Yields:
        None: Nothing.

    Example:
        >>> import torch
        >>> layer = nn.BatchNorm2d(1)
        >>> with untouched_statistics(layer):
        ...     _ = layer(torch.rand(2, 1, 4, 4) + 5)
        >>> layer.running_mean.item(), layer.num_batches_tracked.item()
        (0.0, 0)
    """
    layers = [m for m in network.modules() if enabled and _records(m)]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
