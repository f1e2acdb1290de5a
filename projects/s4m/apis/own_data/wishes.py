# SPDX-License-Identifier: Apache-2.0
"""What a person decides about a training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Method = Literal['supervised', 'guided_distillation', 's4m']
METHODS: tuple[Method, ...] = ('supervised', 'guided_distillation', 's4m')


@dataclass(frozen=True)
class Wishes:
    """What a person has decided; None leaves it to the data and the machine.

    Attributes:
        method (str, optional): ``supervised``, ``guided_distillation`` or
            ``s4m``.
        model (str, optional): Name in
            :data:`~s4m.apis.own_data.known_models.MODELS`, or ``nano``.
        weights (str, optional): ``coco``, ``imagenet``, ``none`` or a file.
        sam (str, optional): Name of SAM 2's config, for instance
            ``sam2.1_hiera_large``.
        size (int, optional): Side in pixels of the training images.
        views (str, optional): ``jitter``, whole images of random scale, or
            ``crops``.
        queries (int, optional): Most objects of an image.
        balance (bool, optional): Whether images of rare classes are drawn
            more often.
        batch (int, optional): Images of each kind for a GPU.
        accumulate (int, optional): Iterations before an optimiser step.
        iters (int, optional): Iterations of each stage.
        validations (int, optional): Validations of a stage.
        unsup_weight (float, optional): Weight of the unlabelled loss.
        burn_in (float, optional): Share of the student's iterations before
            the teacher moves.
        half_life (float, optional): Half-life of the teacher's average, as a
            share of the student's iterations.
        min_area (int, optional): Smallest object in pixels that is pasted.
        lr (float, optional): Learning rate.
        workers (int, optional): Processes that load images.
    """

    method: str | None = None
    model: str | None = None
    weights: str | None = None
    sam: str | None = None
    size: int | None = None
    views: str | None = None
    queries: int | None = None
    balance: bool | None = None
    batch: int | None = None
    accumulate: int | None = None
    iters: int | None = None
    validations: int | None = None
    unsup_weight: float | None = None
    burn_in: float | None = None
    half_life: float | None = None
    min_area: int | None = None
    lr: float | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        """Check the values, one clear error for each.

        Raises:
            ValueError: if a value is out of range.
        """
        _one_of('--method', self.method, METHODS)
        _one_of('--views', self.views, ('jitter', 'crops'))
        for name in (
            'size queries batch accumulate iters validations min_area'
        ).split():
            _at_least(name, getattr(self, name), 1)
        _at_least('workers', self.workers, 0)
        _at_least('unsup_weight', self.unsup_weight, 0)
        for name in ('burn_in', 'half_life', 'lr'):
            value = getattr(self, name)
            top = 1 if name != 'lr' else math.inf
            if value is not None and not 0 < value < top:
                raise ValueError(
                    f'{_flag(name)} must be above 0 and below {top}, got '
                    f'{value}'
                )


def _flag(name: str) -> str:
    return '--' + name.replace('_', '-')


def _one_of(flag: str, value: Any, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise ValueError(f'{flag} takes {", ".join(known)}; got {value}')


def _at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and value < least:
        raise ValueError(
            f'{_flag(name)} must be at least {least}, got {value}'
        )
