# SPDX-License-Identifier: Apache-2.0
"""Pre-label images, for a person to correct."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from s4m.apis.photos import (
    PathLike,
    check_some_readable,
    common_folder,
    describe_photos,
    find_photos,
)
from s4m.apis.pseudo_labels import PseudoLabelGenerator
from s4m.datasets.coco_io import read_coco, write_coco
from s4m.datasets.formats import FORMATS, write_labels

from .networks import Network, choose_network
from .run_folder import open_run

#: Name of the COCO file in the folder of the results.
LABELS = 'labels.json'


@dataclass(frozen=True)
class LabelResult:
    """What ``s4m label`` made.

    Attributes:
        out (Path): Folder of the results.
        labels (Path): COCO file with RLE masks and ``score``.
        for_tool (Path): What the annotation tool imports: ``labels`` for the
            format ``coco``, else a file or folder in ``out/FORMAT``.
        network (str): Network that labelled.
        refined (bool): Whether SAM 2 refined the masks.
        images (int): Number of images that were labelled.
        instances (int): Number of their instances.
        broken (tuple[Path, ...]): Files that could not be read.
        notes (tuple[str, ...]): What the format lost, a line each.
    """

    out: Path
    labels: Path
    for_tool: Path
    network: str
    refined: bool
    images: int
    instances: int
    broken: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def label(
    run: str | os.PathLike,
    images: PathLike | Sequence[PathLike],
    *,
    out: str | os.PathLike,
    format: str = 'coco',
    score_thr: float = 0.3,
    network: str | None = None,
    refine: bool | None = None,
    device: str | None = None,
) -> LabelResult:
    """Label images with a network of a run, for a person to correct.

    Files that are not images are left out. A call that was stopped goes on
    where it stopped if it is repeated.

    Args:
        run: Folder that ``s4m train --out`` named.
        images: Folder of images, image, pattern, or several of them.
        out: File ``.json`` for the format ``coco``, or a folder that gets
            ``labels.json``, and ``FORMAT`` for another format. File names
            are relative to the images' common folder.
        format (str): Format that the annotation tool imports, see
            :mod:`s4m.datasets.formats`. Defaults to ``coco``.
        score_thr (float): Minimum score of an instance. Lower ones are more
            to delete, higher ones more to draw. Defaults to 0.3.
        network (str, optional): ``supervised``, ``student`` or ``teacher``.
            Defaults to None, the best.
        refine (bool, optional): Whether the run's SAM 2 refines the masks.
            Defaults to None, which does so if the run has one.
        device (str, optional): ``cuda:0``, ``cpu`` ... Defaults to None, a
            GPU if there is one.

    Returns:
        LabelResult: places, numbers, and the files that are broken.

    Raises:
        FileNotFoundError: if there is no run, model or image.
        FileExistsError: if ``out`` has labels.
        ValueError: if the network or the format is unknown, no file is an
            image, or the run has no SAM 2 to refine with.

    Example::

        from s4m.apis.own_data import label

        result = label(
            'runs/apples', 'photos/', out='to_correct', format='labelme'
        )
        result.for_tool  # to_correct/labelme, one file for each image
    """
    chosen = choose_network(run, network)
    folder, name = Path(out), LABELS
    if folder.suffix.lower() == '.json':
        if format != 'coco':
            raise ValueError(
                f'The labels for {format} are more than one file: name a '
                f'folder with --out, not {out}'
            )
        folder, name = folder.parent, folder.name
    files = find_photos(images)
    return label_files(
        chosen,
        files,
        out=folder,
        classes=open_run(run).read()['classes'],
        format=format,
        score_thr=score_thr,
        refine=refine,
        device=device,
        name=name,
    )


def label_files(
    network: Network,
    files: Sequence[Path],
    *,
    out: Path,
    classes: Sequence[str],
    format: str = 'coco',
    score_thr: float = 0.3,
    refine: bool | None = None,
    device: str | None = None,
    name: str = LABELS,
) -> LabelResult:
    """Label some files with a network; see :func:`label`.

    Args:
        network (Network): The network.
        files (Sequence[Path]): Images, some of which may be broken.
        out (Path): Folder of the results.
        classes (Sequence[str]): Names of the classes.
        format (str): Format of the annotation tool. Defaults to ``coco``.
        score_thr (float): Minimum score. Defaults to 0.3.
        refine (bool, optional): Whether SAM 2 refines. Defaults to None,
            which does so if there is one.
        device (str, optional): Defaults to None, a GPU if there is one.
        name (str): Name of the COCO file. Defaults to ``labels.json``.
    """
    check_format(format)
    if not 0 <= score_thr < 1:
        raise ValueError(f'score_thr must be in 0..1, got {score_thr}')
    if refine and network.refiner is None:
        raise ValueError(
            'The run has no SAM 2 to refine with: leave --refine out, or '
            'train with --method s4m'
        )
    if refine is None:
        refine = network.refiner is not None
    target = out / name
    for_tool = target if format == 'coco' else out / format
    for place in (target, for_tool):
        if place.exists():
            raise FileExistsError(
                f'{place} exists already: remove it, or name another folder '
                'with --out'
            )
    root = common_folder(files)
    entries, broken = describe_photos(files, root)
    check_some_readable(len(entries), broken, 'images')
    categories = [dict(id=k, name=n) for k, n in enumerate(classes, 1)]
    # It stays while the labels are unfinished: they resume if it is equal.
    listed = out / f'{name}.images'
    write_coco(listed, images=entries, annotations=[], categories=categories)
    generator = PseudoLabelGenerator(
        network.config,
        network.checkpoint,
        images=listed,
        image_root=root,
        model=network.branch,
        score_thr=score_thr,
        max_per_image=1000,
        refine=network.refiner if refine else None,
        workers=0 if device == 'cpu' else 2,
        device=device,
    )
    generator.generate(target)
    listed.unlink()
    data = read_coco(target)
    notes: Sequence[str] = ()
    if format != 'coco':
        for_tool, notes = write_labels(data, for_tool, format, root=root)
    return LabelResult(
        out,
        target,
        for_tool,
        network.name,
        refine,
        len(entries),
        len(data['annotations']),
        tuple(broken),
        tuple(notes),
    )


def check_format(format: str) -> None:
    """Refuse a format that cannot be written, before the work begins.

    Args:
        format (str): One of ``s4m.datasets.formats.FORMATS``.

    Raises:
        ValueError: if the format is unknown.
    """
    if format not in FORMATS:
        raise ValueError(
            f'The format {format!r} is unknown: choose one of '
            f'{", ".join(FORMATS)}'
        )
