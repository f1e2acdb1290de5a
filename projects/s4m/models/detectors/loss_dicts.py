# SPDX-License-Identifier: Apache-2.0
"""Dictionaries of losses, scaled and added by few operators.

A Mask2Former has thirty losses. On a fast GPU a step waits for the host, which
would launch an operator for each of them, again in the backward pass.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from mmdet.models.utils import reweight_loss_dict
from torch import Tensor


def scale_losses(losses: dict[str, Any], weight: float) -> dict[str, Any]:
    """Multiply losses by a weight, as MMDet's ``reweight_loss_dict``.

    Args:
        losses (dict): Tensors or lists of tensors. Only names with ``loss``
            are scaled.
        weight (float): The weight.

    Returns:
        dict: A new dictionary in the same order; the same one for 1.

    Example:
        >>> losses = dict(loss_cls=torch.ones(()), num=torch.ones(()))
        >>> {k: v.item() for k, v in scale_losses(losses, 2.0).items()}
        {'loss_cls': 2.0, 'num': 1.0}
    """
    if weight == 1:
        return losses
    scalars = {
        name: value
        for name, value in losses.items()
        if 'loss' in name and isinstance(value, Tensor) and not value.dim()
    }
    others = {k: v for k, v in losses.items() if k not in scalars}
    scaled = reweight_loss_dict(others, weight)
    if scalars:
        values = torch.stack(list(scalars.values())) * weight
        scaled.update(zip(scalars, values.unbind(), strict=True))
    return {name: scaled[name] for name in losses}


class AddedLossesMixin:
    """Mixin for a detector whose losses :func:`add_losses` adds."""

    def parse_losses(
        self, losses: dict[str, Any]
    ) -> tuple[Tensor, OrderedDict[str, Tensor]]:
        """Add the losses, see :func:`add_losses`."""
        return add_losses(losses)


def add_losses(
    losses: dict[str, Any],
) -> tuple[Tensor, OrderedDict[str, Tensor]]:
    """Add losses, as the ``parse_losses`` of MMEngine's models.

    Args:
        losses (dict): Tensors or lists of tensors, of which means are taken.

    Returns:
        tuple: The sum of the values whose name has ``loss``, and the values
        to log, ``loss`` first.

    Raises:
        TypeError: if a value is neither a tensor nor a list of tensors.

    Example:
        >>> losses = dict(loss_cls=torch.ones(2), num=torch.ones(()))
        >>> add_losses(losses)[0]
        tensor(1.)
    """
    values = {name: _mean(name, value) for name, value in losses.items()}
    parts = [value for name, value in values.items() if 'loss' in name]
    total = torch.stack(parts).sum()
    return total, OrderedDict([('loss', total), *values.items()])


def _mean(name: str, value: Any) -> Tensor:
    """Return a scalar; one that is a scalar already needs no operator."""
    if isinstance(value, Tensor):
        return value.mean() if value.dim() else value
    if isinstance(value, list | tuple) and value:
        if all(isinstance(part, Tensor) for part in value):
            return torch.stack([_mean(name, part) for part in value]).sum()
    raise TypeError(
        f'{name} of a detector must be a tensor or a list of tensors, got '
        f'{type(value).__name__}'
    )
