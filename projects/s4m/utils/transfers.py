# SPDX-License-Identifier: Apache-2.0
"""Copies between host and device that the host does not wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmdet.structures.bbox import BaseBoxes
from mmengine.structures import BaseDataElement
from torch import Tensor

_ALIGNMENT = 16


def to_device(
    values: Sequence[Tensor], device: torch.device | str
) -> list[Tensor]:
    """Copy tensors of the host to a device, all of them at once.

    The tensors travel in one page-locked buffer, so the host neither waits
    nor issues a copy for each.

    Args:
        values (Sequence[Tensor]): Tensors of any shapes and dtypes; those
            that are on the device stay as they are.
        device (torch.device | str): Where the results are.

    Returns:
        list[Tensor]: The tensors on the device, which share memory.

    Example:
        >>> to_device([torch.ones(2), torch.zeros(1).bool()], 'cpu')
        [tensor([1., 1.]), tensor([False])]
    """
    device = torch.device(device)
    if device.type == 'cpu':
        return [value.to(device) for value in values]
    moved = list(values)
    host = [i for i, v in enumerate(values) if v.device.type == 'cpu']
    starts, size = [], 0
    for i in host:
        starts.append(size)
        num_bytes = values[i].numel() * values[i].element_size()
        size += -(-num_bytes // _ALIGNMENT) * _ALIGNMENT
    if not size:
        return [value.to(device) for value in values]
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    for i, start in zip(host, starts, strict=True):
        _view(buffer, start, values[i]).copy_(values[i])
    buffer = buffer.to(device, non_blocking=True)
    for i, start in zip(host, starts, strict=True):
        moved[i] = _view(buffer, start, values[i])
    return moved


def _view(buffer: Tensor, start: int, like: Tensor) -> Tensor:
    """Return the part of a buffer of bytes that holds a tensor."""
    end = start + like.numel() * like.element_size()
    return buffer[start:end].view(like.dtype).view(like.shape)


def tree_to_device(tree: Any, device: torch.device | str) -> Any:
    """Copy a batch of a data loader to a device, all of it at once.

    Args:
        tree (Any): Dictionaries, lists and tuples of tensors, of MMEngine's
            data elements and of MMDetection's boxes; other values, such as
            ``BitmapMasks``, stay as they are.
        device (torch.device | str): Where the tensors of the result are.

    Returns:
        Any: The same structure with new data elements.

    Example:
        >>> batch = tree_to_device(dict(inputs=[torch.ones(1)], n=2), 'cpu')
        >>> batch
        {'inputs': [tensor([1.])], 'n': 2}
    """
    found: list[Tensor] = []
    _map(tree, lambda tensor: found.append(tensor) or tensor)
    moved = iter(to_device(found, device))
    return _map(tree, lambda _: next(moved))


def _map(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to all tensors of a structure, in a fixed order."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: _map(value, function) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, '_fields'):
        return type(tree)(*(_map(value, function) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(_map(value, function) for value in tree)
    if isinstance(tree, BaseBoxes):
        return type(tree)(_map(tree.tensor, function), dtype=None, clone=False)
    if isinstance(tree, BaseDataElement):
        new = tree.new()
        for key, value in tree.items():
            new.set_data({key: _map(value, function)})
        return new
    return tree
