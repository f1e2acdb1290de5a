# SPDX-License-Identifier: Apache-2.0
"""Notice when the AP of the validations begins to fall."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

#: Values that a sentence shows before it leaves out those in the middle.
_SHOWN = 8


class ApHistory:
    """AP of all validations, which notices when it begins to fall.

    The AP falls if there was no new best value for ``patience`` validations,
    the last value is at least ``min_drop`` below the best, and it is not
    above the mean of the last ``patience`` values. A value that rises a
    little on the way down therefore does not hide the fall, and neither noise
    near the best value nor a recovery is a fall. A fall is reported once; the
    next report needs a new best value.

    Args:
        patience (int): Number of validations without a new best value.
            Defaults to 3.
        min_drop (float): Least distance to the best value, as a fraction.
            Defaults to 0.01, which is 1 AP.
        entries (Iterable[Mapping]): Former validations. Defaults to none.

    Attributes:
        entries (list[dict]): ``iteration``, ``ap`` (a fraction) and
            ``figures`` of each validation, the oldest first.

    Raises:
        ValueError: if ``patience`` is below 1 or ``min_drop`` negative.

    Example:
        >>> history = ApHistory(patience=2)
        >>> [history.add(i, ap) for i, ap in enumerate((0.3, 0.28, 0.25))]
        [False, False, True]
        >>> history.add(3, 0.2)
        False
    """

    def __init__(
        self,
        patience: int = 3,
        min_drop: float = 0.01,
        entries: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        if not isinstance(patience, int) or patience < 1:
            raise ValueError(
                f'patience={patience!r}: it counts validations, so it must '
                'be a whole number >= 1.'
            )
        if not 0 <= min_drop < 1:
            raise ValueError(
                f'min_drop={min_drop!r}: it is a difference of APs as '
                'fractions, in 0..1; 0.01 is 1 AP.'
            )
        self.patience = patience
        self.min_drop = min_drop
        self.entries: list[dict[str, Any]] = []
        self._best = 0
        self._reported = False
        for entry in entries:
            self.add(**entry)

    @property
    def best(self) -> dict[str, Any]:
        """The first entry with the highest AP."""
        return self.entries[self._best]

    def add(
        self,
        iteration: int,
        ap: float,
        figures: Mapping[str, float] | None = None,
    ) -> bool:
        """Add a validation.

        Args:
            iteration (int): Iteration of the validation.
            ap (float): AP as a fraction. A value that is not finite is left
                out.
            figures (Mapping, optional): Other values at this validation.
                Defaults to None, no values.

        Returns:
            bool: whether the AP falls and this has not been reported since
            the best value.
        """
        if not math.isfinite(ap):
            return False
        self.entries.append(
            dict(
                iteration=int(iteration),
                ap=float(ap),
                figures=dict(figures or {}),
            )
        )
        best = self.best['ap']
        if ap > best:
            self._best, self._reported = len(self.entries) - 1, False
        recent = [e['ap'] for e in self.entries[self._best + 1 :]]
        recent = recent[-self.patience :]
        falls = (
            len(recent) == self.patience
            and best - ap >= self.min_drop
            and ap * len(recent) <= sum(recent) + 1e-9
        )
        if self._reported or not falls:
            return False
        self._reported = True
        return True

    def growing(self, *keys: str) -> bool:
        """Check whether one of the figures has grown since the best AP."""
        before, after = self.best['figures'], self.entries[-1]['figures']
        return any(
            key in before and key in after and after[key] > before[key]
            for key in keys
        )

    def describe_fall(self, whose: str) -> str:
        """Describe the fall from the best value to the last one.

        Args:
            whose (str): Name of the AP in the sentence.

        Returns:
            str: the sentence without its full stop.
        """
        values = [f'{100 * e["ap"]:.1f}' for e in self.entries[self._best :]]
        count = len(values) - 1
        if len(values) > _SHOWN:
            values[3 : 4 - _SHOWN] = ['...']
        text = (
            f'{whose} has fallen since its best value, {count} validations '
            f'ago ({" -> ".join(values)})'
        )
        before, after = self.best['figures'], self.entries[-1]['figures']
        counts = [
            f'{name} {_change(before[key], after[key])}'
            for name, key in (
                ('pseudo-labels', 'per_image'),
                ('duplicates', 'duplicates'),
                ('labels without an object', 'without_object'),
            )
            if key in before and key in after
        ]
        if counts:
            text += f' while, per image, {", ".join(counts)}'
        return text

    def describe_end(self, whose: str) -> str:
        """Compare the best value with the last one in a sentence."""
        best, last = self.best, self.entries[-1]
        return (
            f'{whose}: best {100 * best["ap"]:.1f} at iteration '
            f'{best["iteration"]}, last {100 * last["ap"]:.1f} at iteration '
            f'{last["iteration"]}.'
        )


def _change(before: float, after: float) -> str:
    """Say how a count changed, to one decimal."""
    old, new = f'{before:.1f}', f'{after:.1f}'
    if old == new:
        return f'stayed at {new}'
    verb = 'grew' if after > before else 'went'
    return f'{verb} from {old} to {new}'
