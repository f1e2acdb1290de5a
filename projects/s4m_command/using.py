# SPDX-License-Identifier: Apache-2.0
"""Commands that use the networks of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from .application import LABELS, Debug, Format, Network, Run, app
from .errors import one_line_errors


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
    labels: Annotated[Path, typer.Argument(help=LABELS)],
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
