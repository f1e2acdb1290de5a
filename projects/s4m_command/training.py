# SPDX-License-Identifier: Apache-2.0
"""The command that trains, and its many options."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .application import LABELS, Debug, app
from .errors import one_line_errors

_TRAINING = 'Settings that are decided otherwise'


class Method(str, Enum):
    """Values of ``--method``."""

    supervised = 'supervised'
    guided_distillation = 'guided_distillation'
    s4m = 's4m'


class Views(str, Enum):
    """Values of ``--views``."""

    jitter = 'jitter'
    crops = 'crops'


class Precision(str, Enum):
    """Values of ``--amp``."""

    bf16 = 'bf16'
    fp16 = 'fp16'
    off = 'off'


def _setting(help_text: str) -> Any:
    return typer.Option(help=help_text, rich_help_panel=_TRAINING)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help='Folder of the run.')],
    labeled: Annotated[Path | None, typer.Option(help=LABELS)] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help='Folder of the labelled images; by default the place that '
            'the labels name, or beside them.'
        ),
    ] = None,
    unlabeled: Annotated[
        Path | None,
        typer.Option(
            help='Folder of unlabelled images, or a list of them; by default '
            "the other images in the labelled ones' folder."
        ),
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option(
            help='Labels to validate on; by default some of the labelled '
            'images are held out.'
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help='Edited config.py of a run, instead of a new one.'),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(help='Time for the run: the iterations are fitted.'),
    ] = None,
    method: Annotated[
        Method | None, _setting('By default the best that is possible.')
    ] = None,
    model: Annotated[
        str | None,
        _setting('Network; `s4m list models` names them.'),
    ] = None,
    weights: Annotated[
        str | None,
        _setting('To start from: coco, imagenet, own, none or a file.'),
    ] = None,
    sam: Annotated[
        str | None, _setting('SAM 2: sam2.1_hiera_large, ... or its file.')
    ] = None,
    size: Annotated[
        int | None, _setting('Side of the training images in pixels.')
    ] = None,
    views: Annotated[
        Views | None, _setting('Whole images of random scale, or crops.')
    ] = None,
    queries: Annotated[
        int | None, _setting('The most objects of an image.')
    ] = None,
    balance: Annotated[
        bool | None,
        typer.Option(
            '--balance/--no-balance',
            help='Draw images of rare classes more often.',
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    batch: Annotated[
        int | None, _setting('Images of each kind for a GPU.')
    ] = None,
    accumulate: Annotated[
        int | None, _setting('Iterations before a step.')
    ] = None,
    iters: Annotated[int | None, _setting('Iterations of each stage.')] = None,
    validations: Annotated[
        int | None, _setting('Validations of a stage.')
    ] = None,
    unsup_weight: Annotated[
        float | None, _setting('Weight of the unlabelled loss.')
    ] = None,
    burn_in: Annotated[
        float | None,
        _setting('Share of the training before the teacher moves.'),
    ] = None,
    half_life: Annotated[
        float | None,
        _setting("Half-life of the teacher's average, as a share."),
    ] = None,
    min_area: Annotated[
        int | None, _setting('Smallest object that is pasted, in pixels.')
    ] = None,
    lr: Annotated[float | None, _setting('Learning rate.')] = None,
    workers: Annotated[
        int | None, _setting('Processes that load images.')
    ] = None,
    seed: Annotated[int, typer.Option(help='Seed of everything.')] = 0,
    gpus: Annotated[int, typer.Option(help='Number of processes.')] = 1,
    amp: Annotated[
        Precision | None,
        typer.Option(help="Precision; by default the machine's."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Train on labelled and unlabelled images.

    Example:
    `s4m train --labeled labels.json --images photos/ --unlabeled more/ --out
    runs/apples`

    The same command again goes on with a stopped run.
    """
    wishes = dict(
        method=method and method.value,
        model=model,
        weights=weights,
        sam=sam,
        size=size,
        views=views and views.value,
        queries=queries,
        balance=balance,
        batch=batch,
        accumulate=accumulate,
        iters=iters,
        validations=validations,
        unsup_weight=unsup_weight,
        burn_in=burn_in,
        half_life=half_life,
        min_area=min_area,
        lr=lr,
        workers=workers,
    )
    with one_line_errors(debug, 'The same command goes on.'):
        from s4m.apis.own_data import train as run

        run(
            labeled,
            out=out,
            images=images,
            unlabeled=unlabeled,
            val=val,
            config=config,
            hours=hours,
            seed=seed,
            gpus=gpus,
            amp=amp and amp.value,
            **{k: v for k, v in wishes.items() if v is not None},
        )
