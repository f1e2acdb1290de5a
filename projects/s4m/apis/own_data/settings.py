# SPDX-License-Identifier: Apache-2.0
"""All settings of a run, and why they are so."""

from __future__ import annotations

from dataclasses import dataclass, field

from .known_models import KnownModel
from .wishes import Method


@dataclass(frozen=True)
class Decision:
    """A setting, its value in words, and why it was chosen."""

    setting: str
    value: str
    why: str


@dataclass
class Settings:
    """All that the configs of a run are made of; fields as in `Wishes`.

    Attributes:
        test_size (int): Longer side in pixels to which an image is resized
            for a prediction, unless images have their own size.
        shrinks (bool): Whether images are resized for a prediction where
            crops were trained on, since some are too large.
        scales (tuple[int, ...]): Shorter sides in pixels that crops are cut
            from; none for jitter.
        reasons (list[Decision]): Why, in the order of the table.
    """

    method: Method
    model: KnownModel
    weights: str
    sam: str | None
    size: int
    views: str
    test_size: int
    shrinks: bool
    scales: tuple[int, ...]
    queries: int
    balance: bool
    batch: int
    accumulate: int
    supervised_iters: int
    student_iters: int
    validations: int
    unsup_weight: float
    burn_in: int
    momentum: float
    min_area: int
    lr: float
    workers: int
    reasons: list[Decision] = field(default_factory=list)
