# SPDX-License-Identifier: Apache-2.0
"""Record outputs of submodules without a change of the parent module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def record_output(module: nn.Module) -> Iterator[list[Any]]:
    """Collect the outputs of a module while the block runs.

    Args:
        module (nn.Module): The module whose calls are recorded.

    Yields:
        list: The output of each call, in order.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        >>> with record_output(net[0]) as outputs:
        ...     _ = net(torch.rand(2, 4))
        >>> outputs[0].shape
        torch.Size([2, 3])
    """
    outputs: list[Any] = []
    handle = module.register_forward_hook(
        lambda _module, _args, output: outputs.append(output)
    )
    try:
        yield outputs
    finally:
        handle.remove()
