# SPDX-License-Identifier: Apache-2.0
"""Read labels of any format."""

from __future__ import annotations

import os
from pathlib import Path

from . import coco, cvat, labelme, labelstudio, via, voc, yolo
from .collector import Collector
from .image_files import ImageFiles
from .labelled_set import LabelledSet
from .recognition import Source, recognise

_READERS = dict(
    coco=coco.read,
    labelme=labelme.read,
    yolo=yolo.read,
    cvat=cvat.read,
    labelstudio=labelstudio.read,
    via=via.read,
    voc=voc.read,
)


def read_labels(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    format: str | None = None,
) -> LabelledSet:
    """Read labelled images of COCO, labelme, YOLO, CVAT and other tools.

    An image is found by its name in the labels, relative to the folder of
    the images, or in any folder below. Boxes, points and lines are left out,
    which the notes say.

    Args:
        path: File of labels, or a folder.
        images: Folder of the images. Defaults to None, the folder of the
            labels, or the one above a folder ``annotations``; of Pascal VOC,
            its ``JPEGImages`` if there is one.
        format (str, optional): Format of the labels, one of ``FORMATS``.
            Defaults to None, recognised by their content.

    Returns:
        LabelledSet: Images, instances, classes and notes.

    Raises:
        FileNotFoundError: if the labels, or images with labels, are missing.
        ValueError: if the labels cannot be read, an image has another size
            than its labels, or nothing has a mask.

    Example::

        labels = read_labels('apples/annotations.xml', images='apples/photos')
    """
    source = recognise(Path(path), format)
    files = ImageFiles(_image_folder(source) if images is None else images)
    into = Collector(source.path, source.format, files)
    try:
        return _READERS[source.format](source.path, source.data, into)
    except (AttributeError, IndexError, KeyError, TypeError) as e:
        raise ValueError(
            f'{source.path} is not as {source.format} files are: {e!r}. '
            'Export the labels again.'
        ) from e


def _image_folder(source: Source) -> Path:
    """Return the folder where images lie if nobody says so."""
    folder = source.path.absolute()
    if source.path.is_file():
        folder = folder.parent
    if source.format == 'voc' and (folder / voc.IMAGES).is_dir():
        return folder / voc.IMAGES
    if source.format == 'yolo' and 'labels' in folder.parts:
        # labels/train was named: images/train is beside labels.
        return folder.parents[folder.parts[::-1].index('labels')]
    return folder.parent if folder.name.lower() == 'annotations' else folder
