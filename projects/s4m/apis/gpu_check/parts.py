# SPDX-License-Identifier: Apache-2.0
"""The parts in their order, the most valuable first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import torch

from .report import Report


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes:
        name (str): Its name, and that of its module.
        limit (float): Seconds after which it is killed.
        least (float): Seconds without which it does not begin.
    """

    name: str
    limit: float
    least: float

    def load(self) -> Callable[[torch.device, bool, Report], None]:
        """Return its function ``run(device, nano, report)``."""
        package = __name__.rpartition('.')[0]
        return import_module(f'{package}.{self.name}').run


PARTS = (
    Part('environment', 25, 5),
    Part('operators', 30, 8),
    Part('steps', 75, 15),
    Part('student', 140, 25),
    Part('launches', 45, 15),
    Part('models', 120, 20),
    Part('resume', 60, 20),
    Part('loader', 45, 15),
    Part('tests', 150, 25),
)


def find_part(name: str) -> Part:
    """Find a part by its name.

    Raises:
        ValueError: if there is none.
    """
    for part in PARTS:
        if part.name == name:
            return part
    names = [part.name for part in PARTS]
    raise ValueError(f'part must be one of {names}, got {name!r}')
