# SPDX-License-Identifier: Apache-2.0
"""Selection of instances of all images with one wait of the host."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def kept_indices(keep: Sequence[Tensor] | Tensor) -> list[Tensor]:
    """Find the instances of each image that stay.

    Indexing with a mask makes the host wait for the device each time, since
    the size of the result depends on the mask's values. Here it waits once,
    for the numbers of all images.

    Args:
        keep (Sequence[Tensor] | Tensor): (n_b, ) bool of each image b, or
            (B, n) bool.

    Returns:
        list[Tensor]: (m_b, ) int64 indices of the true values, in order.

    Example:
        >>> import torch
        >>> kept_indices([torch.tensor([False, True]), torch.tensor([True])])
        [tensor([1]), tensor([0])]
    """
    if not len(keep):
        return []
    padded = pad_sequence(list(keep), batch_first=True)
    if padded.device.type == 'cpu':
        return [row.nonzero()[:, 0] for row in padded]
    order = padded.byte().argsort(dim=1, descending=True, stable=True)
    counts = padded.sum(1).tolist()
    return [row[:n] for row, n in zip(order, counts, strict=True)]
