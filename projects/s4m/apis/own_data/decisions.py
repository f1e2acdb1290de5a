# SPDX-License-Identifier: Apache-2.0
"""Decide the settings of a training from the data and the machine.

Each function decides one thing, from facts alone, and says why. What a
person gives with a flag is taken as it is.
"""

from __future__ import annotations

import math
from typing import Any

from .facts import DataFacts, Machine
from .known_models import KnownModel, find_model
from .settings import Decision, Settings
from .wishes import METHODS, Method, Wishes

__all__ = ['METHODS', 'Settings', 'Wishes', 'decide']

#: Images of each kind in an optimiser step.
EFFECTIVE_BATCH, NANO_BATCH = 8, 4
#: Share of a GPU's memory that a training may take.
_USABLE = 0.85
_GIVEN = 'given'


def decide(
    facts: DataFacts,
    machine: Machine,
    wishes: Wishes | None = None,
    sam: str | None = None,
    gpus: int = 1,
) -> Settings:
    """Decide all settings of a run.

    Args:
        facts (DataFacts): What the data are like.
        machine (Machine): What the machine has.
        wishes (Wishes, optional): What a person has decided. Defaults to
            None, nothing.
        sam (str, optional): SAM 2 whose weights were found. Defaults to
            None.
        gpus (int): Number of processes of the training. Defaults to 1.

    Raises:
        ValueError: if a wish contradicts the data, such as a method with
            unlabelled images where there are none.
    """
    wishes = wishes or Wishes()
    reasons: list[Decision] = []

    def note(setting: str, wish: Any, value: Any, why: str, shown='') -> Any:
        reasons.append(
            Decision(
                setting,
                shown or str(value),
                _GIVEN if wish is not None else why,
            )
        )
        return value

    model = find_model(wishes.model, bool(machine.gpu))
    note(
        'model',
        wishes.model,
        model.name,
        f'{machine.gpu or "no GPU"}: {model.about}',
    )
    weights = note('weights', wishes.weights, *_weights(wishes, model))
    method = note('method', wishes.method, *_method(wishes, facts, sam))
    size = note('size', wishes.size, *_size(wishes, facts, model))
    views = note('views', wishes.views, *_views(wishes, facts, size))
    test_size, scales = _scales(facts, views, size)
    queries = note('queries', wishes.queries, *_queries(wishes, facts))
    balance = note('balance', wishes.balance, *_balance(wishes, facts))
    batch, accumulate, why = _batch(wishes, machine, model, size, sam, gpus)
    batch = note('batch', wishes.batch, batch, why)
    accumulate = note(
        'accumulate',
        wishes.accumulate,
        accumulate,
        f'{gpus} x {batch} x {accumulate} images of each kind a step',
    )
    iters, student_iters, why = _iters(wishes, facts, model, batch * gpus)
    note(
        'iters', wishes.iters, student_iters, why, f'{iters} + {student_iters}'
    )
    validations = wishes.validations or 10
    note(
        'validations',
        wishes.validations,
        validations,
        'the best of them is kept'
        if facts.validation
        else 'no validation images',
    )
    share = wishes.burn_in or 5 / 8
    half_life = wishes.half_life or 0.025
    steps = max(1.0, half_life * student_iters)
    settings = Settings(
        method=method,
        model=model,
        weights=weights,
        sam=sam if method == 's4m' else None,
        size=size,
        views=views,
        test_size=test_size,
        shrinks=facts.longest > test_size,
        scales=scales,
        queries=queries,
        balance=balance,
        batch=batch,
        accumulate=accumulate,
        supervised_iters=iters,
        student_iters=student_iters,
        validations=validations if facts.validation else 0,
        unsup_weight=0.5
        if wishes.unsup_weight is None
        else wishes.unsup_weight,
        burn_in=max(1, round(share * student_iters)),
        momentum=float(f'{1 - 0.5 ** (1 / steps):.2g}'),
        min_area=wishes.min_area or _min_area(facts, size),
        lr=wishes.lr or model.lr,
        workers=_workers(machine, model, gpus)
        if wishes.workers is None
        else wishes.workers,
        reasons=reasons,
    )
    if method != 'supervised':
        note(
            'unsup-weight',
            wishes.unsup_weight,
            settings.unsup_weight,
            "a teacher of few images errs more than the papers' (weight 2)",
        )
        note(
            'burn-in',
            wishes.burn_in,
            settings.burn_in,
            'iterations in which the teacher stays as it is',
        )
        note(
            'half-life',
            wishes.half_life,
            settings.momentum,
            f'the teacher averages about {steps:.0f} iterations',
            f'{half_life:g} (momentum {settings.momentum:g})',
        )
    if method == 's4m' and model.family == 'mask2former':
        note(
            'min-area',
            wishes.min_area,
            settings.min_area,
            'smaller objects are not pasted',
        )
    note('lr', wishes.lr, settings.lr, f'for {model.name}')
    note('workers', wishes.workers, settings.workers, f'{machine.cores} cores')
    return settings


def _weights(wishes: Wishes, model: KnownModel) -> tuple[str, str]:
    wish = wishes.weights
    known = dict(
        coco=model.coco,
        own=model.own,
        # A network of this project has no published backbone.
        imagenet=model.coco and not model.name.endswith(('_ins_m', '_ins_l')),
    )
    if wish in known and not known[wish]:
        there = [name for name, place in known.items() if place]
        raise ValueError(
            f'--weights {wish}: there are none for {model.name}; choose '
            f'{", ".join([*there, "none"])} or a file, or another --model'
        )
    if wish is not None:
        return wish, _GIVEN
    if model.coco:
        return 'coco', "MMDetection's, of 118 000 labelled photos"
    part = ' of the backbone' if model.own == 'backbone' else ''
    return 'own', f"this project's{part}, of random scenes"


def _method(
    wishes: Wishes, facts: DataFacts, sam: str | None
) -> tuple[Method, str]:
    wish = wishes.method
    if wish not in (None, 'supervised') and not facts.unlabeled:
        raise ValueError(
            f'--method {wish} needs unlabelled images: name their folder with '
            '--unlabeled'
        )
    if wish == 's4m' and sam is None:
        raise ValueError(
            '--method s4m needs SAM 2: name it with --sam, for instance '
            'sam2.1_hiera_large, and put its weights into checkpoints/'
        )
    if wish is not None:
        return wish, _GIVEN  # type: ignore[return-value]
    if not facts.unlabeled:
        return 'supervised', 'there are no unlabelled images'
    if sam is not None:
        return 's4m', f'{sam} refines the pseudo-labels'
    return 'guided_distillation', 'no weights of SAM 2 were found'


def _size(
    wishes: Wishes, facts: DataFacts, model: KnownModel
) -> tuple[int, str]:
    if wishes.size is not None:
        if wishes.size % 32:
            near = max(32, round(wishes.size / 32) * 32)
            raise ValueError(
                f'--size must be a multiple of 32, got {wishes.size}: try '
                f'{near}'
            )
        return wishes.size, _GIVEN
    own = math.ceil(facts.long / 32) * 32
    if own < model.size:
        return max(own, 64), f'the images are {facts.long:.0f} pixels long'
    if model.is_nano and facts.object_share * model.size < _SMALL:
        # As many pixels as eight objects side by side; four times as fast.
        wide = math.ceil(8 * facts.object_side / 32) * 32
        if 128 <= wide < model.size:
            return wide, f'eight objects of {facts.object_side:.0f} pixels'
    return model.size, f'for {model.name}'


#: Objects smaller than this many pixels after shrinking are cropped instead.
_SMALL = 16


def _views(wishes: Wishes, facts: DataFacts, size: int) -> tuple[str, str]:
    if wishes.views is not None:
        return wishes.views, _GIVEN
    side = facts.object_share * size
    if facts.long <= size:
        return 'jitter', f'images fit into {size} pixels'
    if side < _SMALL:
        return 'crops', (
            f'an object would be {side:.0f} pixels wide at a size of {size}, '
            f'it is {facts.object_side:.0f} in the image'
        )
    if facts.uniform and facts.short > size:
        return 'crops', (
            f'all images have about {facts.long:.0f} x {facts.short:.0f} '
            'pixels'
        )
    return 'jitter', 'photos of several sizes'


def _scales(
    facts: DataFacts, views: str, size: int
) -> tuple[int, tuple[int, ...]]:
    """Return the size of predictions and the scales of crops."""
    if views == 'jitter':
        return size * 4 // 3, ()
    limit = max(2048, 2 * size) if size > 256 else 1024
    shrink = min(1.0, limit / facts.long)
    short = facts.short * shrink
    steps = (0.5, 0.75, 1.0, 1.5, 2.0)
    scales = sorted({max(size, round(short * step)) for step in steps})
    return limit, tuple(scales)


def _queries(wishes: Wishes, facts: DataFacts) -> tuple[int, str]:
    if wishes.queries is not None:
        return wishes.queries, _GIVEN
    for number in (100, 200):
        if facts.most <= 0.8 * number:
            break
    else:
        number = 300
    return number, f'up to {facts.most} objects in an image'


def _balance(wishes: Wishes, facts: DataFacts) -> tuple[bool, str]:
    if wishes.balance is not None:
        return wishes.balance, _GIVEN
    if len(facts.classes) == 1:
        return False, 'one class'
    why = f'the rarest class is in {100 * facts.rarest:.0f} % of the images'
    return facts.rarest < 0.2, why


def _batch(
    wishes: Wishes,
    machine: Machine,
    model: KnownModel,
    size: int,
    sam: str | None,
    gpus: int,
) -> tuple[int, int, str]:
    total = EFFECTIVE_BATCH if not model.is_nano else NANO_BATCH
    if wishes.batch is not None:
        batch, why = wishes.batch, _GIVEN
    elif model.is_nano or not machine.gpu:
        batch = min(total, 4)
        why = f'{"no GPU" if not machine.gpu else model.name}'
    else:
        per_image = 2 * model.gib_per_mpx * size * size / 2**20
        fixed = model.fixed_gib + (0.9 if sam else 0.0)
        free = _USABLE * machine.gpu_gib - fixed
        fits = int(free // per_image)
        if fits < 1:
            least = 32 * int(size * math.sqrt(max(free, 0.1) / per_image) / 32)
            raise ValueError(
                f'{model.name} needs about {fixed + per_image:.1f} GiB at '
                f'--size {size}, {machine.gpu} has {machine.gpu_gib:.0f}: '
                f'take a smaller --model or --size {max(least, 256)}, or '
                'name --batch 1 to try it'
            )
        batch = 2 ** int(math.log2(min(fits, max(1, total // gpus))))
        why = (
            f'about {fixed + batch * per_image:.0f} of '
            f'{machine.gpu_gib:.0f} GiB'
        )
    accumulate = wishes.accumulate or max(1, round(total / (batch * gpus)))
    return batch, accumulate, why


def _iters(
    wishes: Wishes, facts: DataFacts, model: KnownModel, batch: int
) -> tuple[int, int, str]:
    if wishes.iters is not None:
        return wishes.iters, wishes.iters, _GIVEN
    if model.is_nano:
        least = 240 if model.family == 'rtmdet_ins' else 1200
        number = min(4000, max(least, 20 * facts.labeled))
        return number, number, 'as the test beds; --hours fits it to a time'
    passes = 100 * facts.labeled / batch
    number = int(min(20000, max(1500, passes)))
    student = int(min(40000, max(1.5 * number, 20 * facts.unlabeled / batch)))
    return (
        number,
        student,
        (
            '100 passes over the labelled images, 20 over the others, not '
            'tuned; --hours fits it to a time'
        ),
    )


def _min_area(facts: DataFacts, size: int) -> int:
    """Cityscapes' 3000 pixels of 512 x 1024, but at most a small object."""
    scaled = 3000 * size * size / (512 * 1024)
    shrink = min(1.0, size / facts.long) ** 2
    return max(16, round(min(scaled, facts.small_area * shrink)))


def _workers(machine: Machine, model: KnownModel, gpus: int) -> int:
    if model.is_nano and not machine.gpu:
        return 0 if machine.cores <= 2 else 2
    return max(1, min(8, machine.cores // gpus - 1))
