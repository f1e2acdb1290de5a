# SPDX-License-Identifier: Apache-2.0
"""Write labels in any format."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pycocotools import mask as mask_utils

from ..coco_checks import check_coco
from . import coco, cvat, labelme, labelstudio, via, voc, yolo
from .image_files import common_root
from .labelled_set import LabelledSet
from .polygons import polygons_rle
from .recognition import FORMATS

_WRITERS: dict[str, Callable[[LabelledSet, Path], list[str]]] = dict(
    coco=coco.write,
    labelme=labelme.write,
    yolo=yolo.write,
    cvat=cvat.write,
    labelstudio=labelstudio.write,
    via=via.write,
    voc=voc.write,
)

#: Name of the file of formats with one file, where a folder is given.
_FILES = dict(
    coco='labels.json',
    cvat='annotations.xml',
    labelstudio='tasks.json',
    via='via_project.json',
)

#: File of an image in the other formats.
_PER_IMAGE: dict[str, Callable[[Path, dict], Path]] = dict(
    labelme=labelme.file_of,
    yolo=yolo.file_of,
    voc=voc.file_of,
)


class WrittenLabels(NamedTuple):
    """What :func:`write_labels` wrote.

    Attributes:
        path (Path): File, or folder of formats with many files.
        notes (list[str]): What was lost, a line each.
    """

    path: Path
    notes: list[str]


def write_labels(
    labels: LabelledSet | dict,
    out: str | os.PathLike,
    format: str,
    *,
    root: str | os.PathLike | None = None,
) -> WrittenLabels:
    """Write labels for the import into an annotation tool.

    What a format loses is said where it is written: ``coco.write`` (nothing),
    ``labelme.write``, ``yolo.write``, ``cvat.write``, ``labelstudio.write``,
    ``via.write`` and ``voc.write``. RLE masks become polygons where a format
    has them, whose simplification moves an outline by 0.75 pixels at most,
    with an IoU of each part of at least 0.98.

    Args:
        labels (LabelledSet | dict): What is written; a dictionary has COCO's
            entries, and sizes of the images.
        out: File (COCO, CVAT, Label Studio, VIA), or folder. What exists
            there is not overwritten.
        format (str): One of ``FORMATS``.
        root: Folder that the file names of a dictionary are relative to.
            Defaults to None, the current folder.

    Returns:
        WrittenLabels: The path, and what was lost.

    Raises:
        FileExistsError: if a file would be overwritten.
        ValueError: if the format is unknown or cannot hold the labels.

    Example::

        write_labels(read_labels('labels.json'), 'for_labelme', 'labelme')
    """
    if format not in FORMATS:
        raise ValueError(
            f'The format {format!r} is unknown: choose one of '
            f'{", ".join(FORMATS)}.'
        )
    if isinstance(labels, dict):
        labels = _labelled_set(labels, Path(os.path.abspath(root or '.')))
    out = Path(out)
    if format in _FILES and out.suffix != Path(_FILES[format]).suffix:
        out = out / _FILES[format]
    _check_free(labels, out, format)
    labels, notes = _writable(labels, format)
    return WrittenLabels(out, notes + _WRITERS[format](labels, out))


def _labelled_set(data: dict, root: Path) -> LabelledSet:
    """Return a COCO dictionary with names relative to one folder."""
    check_coco(data, 'The dictionary')
    paths = [
        Path(os.path.abspath(root / image['file_name']))
        for image in data['images']
    ]
    root = common_root(root, paths)
    images = [
        dict(image, file_name=path.relative_to(root).as_posix())
        for image, path in zip(data['images'], paths, strict=True)
    ]
    annotations, categories = data['annotations'], data['categories']
    return LabelledSet(images, annotations, categories, root, 'coco')


def _check_free(labels: LabelledSet, out: Path, format: str) -> None:
    """Refuse to overwrite a file, and two files of one name."""
    if format in _FILES:
        files = [out]
    elif out.is_file():
        raise FileExistsError(
            f'{out} is a file; {format} is written into a folder. Name one.'
        )
    else:
        files = [_PER_IMAGE[format](out, image) for image in labels.images]
        for file, count in Counter(files).most_common(1):
            if count > 1:
                raise ValueError(
                    f'{count} images would have the file {file}: rename them, '
                    'or choose another format.'
                )
    for file in files:
        if file.exists():
            raise FileExistsError(
                f'{file} exists already. Remove it, or name another place.'
            )


def _writable(
    labels: LabelledSet, format: str
) -> tuple[LabelledSet, list[str]]:
    """Leave out what only COCO holds; return the rest and what was lost."""
    if format == 'coco':
        return labels, []
    sizes = {i['id']: (i['height'], i['width']) for i in labels.images}
    kept = []
    crowds = empty = 0
    for entry in labels.annotations:
        segmentation = entry.get('segmentation')
        if entry.get('iscrowd'):
            crowds += 1
        elif not _area(segmentation, sizes[entry['image_id']]):
            empty += 1
        else:
            kept.append(entry)
    notes = [f'crowds left out: {crowds}'] * (crowds > 0)
    notes += [f'objects without a mask left out: {empty}'] * (empty > 0)
    scores = sum('score' in entry for entry in kept)
    if scores and format != 'labelstudio':
        notes.append(f'scores left out: {scores}')
    fields = vars(labels) | dict(annotations=kept)
    return LabelledSet(**fields), notes


def _area(segmentation: list | dict | None, size: tuple[int, int]) -> int:
    """Return the pixels of a COCO segmentation."""
    if not segmentation:
        return 0
    if isinstance(segmentation, list):
        return int(mask_utils.area(polygons_rle(segmentation, size)))
    if isinstance(segmentation['counts'], list):
        return sum(segmentation['counts'][1::2])
    return int(mask_utils.area(segmentation))
