# SPDX-License-Identifier: Apache-2.0
"""The application, and what its commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help='Instance segmentation from a handful of labels and a folder of '
    'other images.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode='markdown',
    context_settings=dict(help_option_names=['-h', '--help']),
)

LABELS = 'Labels: COCO JSON, or an export of labelme, YOLO, CVAT, Label '
LABELS += 'Studio, VIA or Pascal VOC.'
Run = Annotated[
    Path, typer.Argument(help='Folder of a run, which `s4m train` made.')
]
Debug = Annotated[
    bool, typer.Option('--debug', help='Show the traceback of an error.')
]


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
