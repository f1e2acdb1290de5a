# SPDX-License-Identifier: Apache-2.0
"""The simulator that is active, and its complaints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recorder import Simulator

#: Set by ``Simulator.__enter__``.
active: Simulator | None = None


class DeviceMismatch(RuntimeError):
    """CUDA would have raised here."""


def demand(fine: bool, func, why: str) -> None:
    """Refuse an operator whose tensors are on two devices, unless ``fine``.

    Args:
        fine (bool): Whether CUDA takes the arguments.
        func: Operator, for the message.
        why (str): What CUDA does not take.
    """
    if not fine:
        refuse(
            f'{func}: Expected all tensors to be on the same device, but '
            f'found at least two devices, cuda:0 and cpu! ({why})'
        )


def refuse(message: str) -> None:
    """Raise, or write the mismatch down where the simulator is not strict."""
    if active is None or active.strict:
        raise DeviceMismatch(message)
    active.record('MISMATCH', message)
