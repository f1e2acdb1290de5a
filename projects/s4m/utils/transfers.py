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
#: Number of bytes above which a tensor is an image or masks.
_LARGE = 2**14


def to_device(
    values: Sequence[Tensor], device: torch.device | str
) -> list[Tensor]:
    """Copy tensors of the host to a device, all of them at once.

    The tensors travel in two page-locked buffers, one for large and one for
    small tensors, so the host neither waits nor issues a copy for each.

    Args:
        values (Sequence[Tensor]): Tensors of any shapes and dtypes; those
            that are on the device stay as they are.
        device (torch.device | str): Where the results are.

    Returns:
        list[Tensor]: The tensors on the device, which share the memory of
        the two buffers.

    Example:
        >>> to_device([torch.ones(2), torch.zeros(1).bool()], 'cpu')
        [tensor([1., 1.]), tensor([False])]
    """
    device = torch.device(device)
    if device.type == 'cpu':
        return [value.to(device) for value in values]
    moved = list(values)
    host = [i for i, v in enumerate(values) if v.device.type == 'cpu']
    # Two-stage detectors copy the samples, and with a tensor all of its
    # buffer: labels and boxes are not in that of the images.
    for is_large in (False, True):
        chosen = [i for i in host if (_size(values[i]) > _LARGE) == is_large]
        if not chosen:
            continue
        some = [values[i] for i in chosen]
        packed = _pack(some, pin_memory=device.type == 'cuda')
        packed = packed.to(device, non_blocking=True)
        for i, value in zip(chosen, _unpack(packed, some), strict=True):
            moved[i] = value
    return moved


def image_indices(counts: Sequence[int], device: torch.device | str) -> Tensor:
    """Tell to which image each instance of a batch belongs.

    Args:
        counts (Sequence[int]): Number of instances of each image.
        device (torch.device | str): Where the result is.

    Returns:
        Tensor: (N, ) int64 indices of images.

    Example:
        >>> image_indices([2, 0, 1], 'cpu')
        tensor([0, 0, 2])
    """
    images = torch.arange(len(counts))
    (indices,) = to_device(
        [images.repeat_interleave(torch.tensor(counts))], device
    )
    return indices


def _pack(values: Sequence[Tensor], pin_memory: bool) -> Tensor:
    """Copy the bytes of tensors to one buffer of the host."""
    size = sum(map(_size, values))
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=pin_memory)
    for part, value in zip(_unpack(buffer, values), values, strict=True):
        part.copy_(value)
    return buffer


def _unpack(buffer: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a buffer as tensors with shapes and dtypes."""
    parts = buffer.split([_size(value) for value in like])
    return [
        part[: value.numel() * value.element_size()]
        .view(value.dtype)
        .view(value.shape)
        for part, value in zip(parts, like, strict=True)
    ]


def _size(value: Tensor) -> int:
    """Return the number of bytes of a tensor in a buffer, aligned."""
    num_bytes = value.numel() * value.element_size()
    return -(-num_bytes // _ALIGNMENT) * _ALIGNMENT


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

    def find(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _map(tree, find)
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
