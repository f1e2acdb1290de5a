# SPDX-License-Identifier: Apache-2.0
"""Read the meta of a checkpoint as far as it is plain."""

from __future__ import annotations

from typing import Any

from .checkpoints import Unread


def plain_meta(checkpoint: dict) -> dict[str, Any]:
    """Return the entries of a checkpoint's ``meta`` that were read.

    Args:
        checkpoint (dict): Result of
            :func:`~s4m.utils.checkpoints.read_checkpoint`.

    Returns:
        dict: ``meta`` without the entries that hold an
        :class:`~s4m.utils.checkpoints.Unread`, at any depth of dictionaries;
        empty if the checkpoint has no dictionary ``meta``.

    Example:
        >>> plain_meta(dict(meta=dict(iter=9, seed=Unread())))
        {'iter': 9}
    """
    meta = checkpoint.get('meta')
    return _plain(meta) if isinstance(meta, dict) else {}


def _plain(node: dict) -> dict[str, Any]:
    return {
        key: _plain(value) if isinstance(value, dict) else value
        for key, value in node.items()
        if _is_read(value)
    }


def _is_read(node: Any) -> bool:
    if isinstance(node, list | tuple | set):
        return all(map(_is_read, node))
    # A function in the file is the placeholder class itself.
    return not isinstance(node, Unread | type)
