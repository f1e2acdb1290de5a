# SPDX-License-Identifier: Apache-2.0
"""What keeps a state dict from fitting."""

from __future__ import annotations

from torch import Tensor


def compare_state_dicts(
    own: dict[str, Tensor],
    given: dict[str, Tensor],
    optional: tuple[str, ...] = (),
) -> tuple[list[str], list[str], list[str]]:
    """Keys that do not fit, for a message that names them.

    Args:
        own (dict): Of the module that is loaded into.
        given (dict): Of the file.
        optional (tuple[str]): Prefixes of keys that the file may leave out.

    Returns:
        tuple: keys that are missing in the file, that only the file has, and
        that have another shape there.
    """
    missing = [k for k in own if k not in given and not k.startswith(optional)]
    unexpected = [k for k in given if k not in own]
    shapes = [k for k in own if k in given and own[k].shape != given[k].shape]
    return missing, unexpected, shapes
