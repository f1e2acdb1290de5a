# SPDX-License-Identifier: Apache-2.0
"""Commands for a person's own images, and their options."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import one_line_errors

app = typer.Typer(
    help='Instance segmentation from a handful of labels and a folder of '
    'other images.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode='markdown',
    context_settings=dict(help_option_names=['-h', '--help']),
)

_LABELS = 'Labels: COCO JSON, or an export of labelme, YOLO, CVAT, Label '
_LABELS += 'Studio, VIA or Pascal VOC.'
Run = Annotated[
    Path, typer.Argument(help='Folder of a run, which `s4m train` made.')
]
Debug = Annotated[
    bool, typer.Option('--debug', help='Show the traceback of an error.')
]
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


class Network(str, Enum):
    """Values of ``--network``."""

    student = 'student'
    teacher = 'teacher'
    supervised = 'supervised'


class Format(str, Enum):
    """Values of ``--format``."""

    coco = 'coco'
    labelme = 'labelme'
    yolo = 'yolo'
    cvat = 'cvat'
    labelstudio = 'labelstudio'
    via = 'via'
    voc = 'voc'


def _setting(help_text: str) -> Any:
    return typer.Option(help=help_text, rich_help_panel=_TRAINING)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[
        bool, typer.Option('--version', help='Print the version and exit.')
    ] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f's4m {installed("s4m")}')
        raise typer.Exit


@app.command()
def train(
    out: Annotated[Path, typer.Option(help='Folder of the run.')],
    labeled: Annotated[Path | None, typer.Option(help=_LABELS)] = None,
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


@app.command()
def label(
    run: Run,
    images: Annotated[Path, typer.Argument(help='Folder of images.')],
    out: Annotated[
        Path, typer.Option(help='JSON file to write, or a folder.')
    ],
    format: Annotated[
        Format, typer.Option(help='Tool that imports the labels.')
    ] = Format.coco,
    score_thr: Annotated[
        float, typer.Option(help='Least score of a label.')
    ] = 0.3,
    network: Annotated[
        Network | None, typer.Option(help='By default the best one.')
    ] = None,
    debug: Debug = False,
) -> None:
    """Pre-label images, for people to correct.

    Example: `s4m label runs/apples new_photos/ --out prelabels.json`
    """
    with one_line_errors(debug, 'The same command goes on.'):
        from s4m.apis.own_data import label as run_label

        result = run_label(
            run,
            images,
            out=out,
            format=format.value,
            score_thr=score_thr,
            network=network and network.value,
        )
    typer.echo(
        f'{result.for_tool}: {result.instances} labels of {result.images} '
        f'images, by the {result.network} network'
    )
    _end(result.notes, result.broken)


@app.command()
def suggest(
    run: Run,
    images: Annotated[Path, typer.Argument(help='Folder of images.')],
    out: Annotated[Path, typer.Option(help='Folder to write.')] = Path(
        'suggested'
    ),
    num: Annotated[int, typer.Option(help='Number of images.')] = 20,
    debug: Debug = False,
) -> None:
    """Choose the images whose labels would teach most.

    Example: `s4m suggest runs/apples more_photos/ --num 20`
    """
    with one_line_errors(debug):
        from s4m.apis.own_data import suggest as run_suggest

        result = run_suggest(run, images, num=num, out=out)
    for image in result.chosen:
        terms = ', '.join(f'{k} {v:.2f}' for k, v in image.terms.items())
        typer.echo(f'{image.score:.2f}  {image.file}  ({terms})')
    typer.echo(
        f'{result.list}, {result.contact_sheet}, pre-labels: ', nl=False
    )
    typer.echo(result.prelabels.for_tool)
    _end(result.notes, result.broken)


@app.command()
def predict(
    run: Run,
    images: Annotated[
        list[Path], typer.Argument(help='Images, or folders of them.')
    ],
    out: Annotated[Path, typer.Option(help='Folder to write.')],
    score_thr: Annotated[
        float, typer.Option(help='Least score of an object.')
    ] = 0.3,
    debug: Debug = False,
) -> None:
    """Predict images, as pictures and a COCO file.

    Example: `s4m predict runs/apples test_photos/ --out results`
    """
    with one_line_errors(debug):
        from s4m.apis.own_data import predict as run_predict

        result = run_predict(run, images, out=out, score_thr=score_thr)
    typer.echo(
        f'{result.predictions}: {result.instances} objects in '
        f'{result.images} images; pictures in {result.pictures}'
    )
    _end((), result.broken)


@app.command()
def evaluate(
    run: Run,
    labels: Annotated[Path, typer.Argument(help=_LABELS)],
    images: Annotated[
        Path | None, typer.Option(help='Folder of the images.')
    ] = None,
    network: Annotated[
        Network | None, typer.Option(help='By default all.')
    ] = None,
    debug: Debug = False,
) -> None:
    """Compute the mask AP on labelled images.

    Example: `s4m evaluate runs/apples test_labels.json`
    """
    with one_line_errors(debug):
        from s4m.apis.own_data import evaluate as run_evaluate

        result = run_evaluate(
            run, labels, images=images, network=network and network.value
        )
    typer.echo(f'{result.images} images, {result.objects} objects; AP x 100')
    for name, values in result.networks.items():
        typer.echo(f'{name:12} AP {values.ap:5.1f}  AP50 {values.ap50:5.1f}')
        for kind in values.classes:
            typer.echo(
                f'  {kind.name:20} AP {kind.ap:5.1f}  AP50 {kind.ap50:5.1f}  '
                f'({kind.objects} objects in {kind.images} images)'
            )
    _end(result.notes, ())


def _end(notes: Iterable[str], broken: Iterable[Path]) -> None:
    """Print notes, and the files that could not be read: status 1."""
    for note in notes:
        typer.echo(f'note: {note}')
    files = list(broken)
    for file in files:
        typer.secho(f'{file} cannot be read', err=True, fg='red')
    if files:
        raise typer.Exit(1)
