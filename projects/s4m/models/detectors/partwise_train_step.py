# SPDX-License-Identifier: Apache-2.0
"""A training step that frees the graph of a part before it runs the next."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import Tensor


def partwise_train_step(
    model: BaseModel | MMDistributedDataParallel,
    module: Any,
    data: dict[str, Any],
    optim_wrapper: OptimWrapper,
) -> dict[str, Tensor]:
    """Train one iteration with one backward pass for each part of a batch.

    The gradient of a sum of losses is the sum of their gradients. Backward
    passes of their own give the same gradients up to rounding, and the graphs
    of two parts are never in memory together. Gradients are exchanged between
    processes, clipped and applied once, after the last part. An iteration
    counts once for gradient accumulation.

    Args:
        model (nn.Module): What runs forward: the module or its distributed
            wrapper.
        module (nn.Module): Module whose ``training_parts(data)`` splits a
            preprocessed batch.
        data (dict): Batch of the loader.
        optim_wrapper (OptimWrapper): MMEngine's wrapper of the optimizer.

    Returns:
        dict[str, Tensor]: Values to log: ``loss``, the sum of all parts, and
        the values of each part.
    """
    with optim_wrapper.optim_context(model):
        data = module.data_preprocessor(data, True)
    parts = module.training_parts(data)
    del data
    logs: list[dict[str, Tensor]] = []
    while len(parts) > 1:
        part = parts.pop(0)
        with _no_sync(model), optim_wrapper.optim_context(model):
            losses = model._run_forward(part, mode='loss')
        loss, values = module.parse_losses(losses)
        optim_wrapper.backward(optim_wrapper.scale_loss(loss))
        # MMEngine counts backward passes, of which an iteration has one.
        optim_wrapper._inner_count -= 1
        logs.append(values)
        # Else these names would hold the graph while the next part runs.
        del losses, loss, part
    with optim_wrapper.optim_context(model):
        losses = model._run_forward(parts.pop(), mode='loss')
    loss, values = module.parse_losses(losses)
    optim_wrapper.update_params(loss)
    logs.append(values)
    total = torch.stack([values['loss'] for values in logs]).sum()
    return {'loss': total} | {
        key: value
        for values in logs
        for key, value in values.items()
        if key != 'loss'
    }


def split_branches(
    data: dict[str, Any], *parts: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Split a batch of several branches.

    Args:
        data (dict): Dictionaries by branch, such as ``inputs`` and
            ``data_samples``.
        *parts (tuple[str, ...]): Names of the branches of each part.

    Returns:
        list[dict]: ``data`` with the branches of each part.

    Example:
        >>> data = dict(inputs=dict(sup=1, unsup_teacher=2, unsup_student=3))
        >>> split_branches(data, ('sup',), ('unsup_student',))
        [{'inputs': {'sup': 1}}, {'inputs': {'unsup_student': 3}}]
    """
    return [
        {
            key: {branch: values[branch] for branch in part}
            for key, values in data.items()
        }
        for part in parts
    ]


def _no_sync(model: Any) -> contextlib.AbstractContextManager:
    """Return a context in which no gradients are exchanged."""
    if hasattr(model, 'no_sync'):
        return model.no_sync()
    return contextlib.nullcontext()
