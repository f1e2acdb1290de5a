# SPDX-License-Identifier: Apache-2.0
"""A check that a run has a hook once."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner


def check_single(runner: Runner, hook: Hook, key: str, effect: str) -> None:
    """Refuse a second hook of a class.

    Args:
        runner (Runner): Runner of the training.
        hook (Hook): Hook that asks.
        key (str): Key of ``default_hooks`` that has the hook.
        effect (str): What two of them would do.

    Raises:
        ValueError: if the run has another hook of the same class.
    """
    kind = type(hook)
    count = sum(isinstance(other, kind) for other in runner.hooks)
    if count > 1:
        raise ValueError(
            f'The run has {count} hooks {kind.__name__}, and {effect}. Keep '
            f'the one in default_hooks.{key} and remove the one in '
            'custom_hooks.'
        )
