# SPDX-License-Identifier: Apache-2.0
"""Commands that look: at a run, at this machine, at what there is."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .application import Debug, Format, Network, Run, app
from .errors import one_line_errors


class Kind(str, Enum):
    """What ``s4m list`` lists."""

    methods = 'methods'
    models = 'models'
    segmenters = 'segmenters'
    configs = 'configs'


@app.command()
def report(run: Run, debug: Debug = False) -> None:
    """Write the page of a run again.

    Example: `s4m report runs/apples`
    """
    with one_line_errors(debug):
        from s4m.apis.own_data import report as run_report

        typer.echo(run_report(run))


@app.command()
def publish(
    run: Run,
    out: Annotated[Path, typer.Option(help='Folder to write.')],
    network: Annotated[
        Network | None, typer.Option(help='By default the best one.')
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a network of a run as a plain model of MMDetection.

    Example: `s4m publish runs/apples --network teacher --out published`
    """
    with one_line_errors(debug):
        from s4m.apis.own_data import publish_network

        for file in publish_network(run, out, network and network.value):
            typer.echo(file)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help='Labels in any format.')],
    out: Annotated[Path, typer.Argument(help='File or folder to write.')],
    format: Annotated[Format, typer.Option(help='Format to write.')],
    images: Annotated[
        Path | None, typer.Option(help='Folder of the images.')
    ] = None,
    debug: Debug = False,
) -> None:
    """Convert labels from one tool's format to another's.

    Example: `s4m convert exports/cvat.xml labels.json --format coco`
    """
    with one_line_errors(debug):
        from s4m.apis.label_conversion import convert_labels

        typer.echo(
            convert_labels(source, out, format=format.value, images=images)
        )


@app.command()
def doctor(debug: Debug = False) -> None:
    """Say what this machine has: GPU, operators, weights, versions.

    Example: `s4m doctor`
    """
    with one_line_errors(debug):
        from s4m.apis.own_data import doctor as run_doctor

        checks = run_doctor()
        for check in checks:
            mark = 'ok' if check.ok else '--'
            typer.echo(f'{mark}  {check.name:22} {check.found}')
            if check.advice:
                typer.echo(f'    {"":22} {check.advice}')
        if any(check.needed and not check.ok for check in checks):
            raise typer.Exit(1)


@app.command(name='list')
def list_(
    kind: Annotated[Kind, typer.Argument(help='What to list.')],
    debug: Debug = False,
) -> None:
    """List methods, models, segmenters or configs with a line each.

    Example: `s4m list models`
    """
    with one_line_errors(debug):
        from s4m.apis.own_data import list_all

        rows = list_all(kind.value)
        width = max(len(name) for name, _ in rows)
        for name, about in rows:
            typer.echo(f'{name:{width}}  {about}'.rstrip())


@app.command()
def config(
    name: Annotated[str, typer.Argument(help='Name or file of a config.')],
    print_: Annotated[
        bool,
        typer.Option('--print', help='The whole config, bases resolved.'),
    ] = False,
    debug: Debug = False,
) -> None:
    """Show where a config is, or all of it.

    Example: `s4m config s4m_cityscapes_10p --print`
    """
    with one_line_errors(debug):
        from s4m.apis.config import config_path, get_config

        if print_:
            typer.echo(get_config(name).pretty_text)
        else:
            typer.echo(config_path(name))
