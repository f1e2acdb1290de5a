# SPDX-License-Identifier: Apache-2.0
"""Read labels of any format."""

from __future__ import annotations

import os
from pathlib import Path

from . import coco, cvat, labelme, labelstudio, via, voc, yolo
from .collector import Collector
from .image_files import ImageFiles
from .labelled_set import LabelledSet
from .recognition import recognise

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
            labels, or the one above a folder ``annotations``.
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
    if images is None:
        folder = source.path.absolute()
        if source.path.is_file():
            folder = folder.parent
        if folder.name.lower() == 'annotations':
            folder = folder.parent
        if source.format == 'yolo' and 'labels' in folder.parts:
            # labels/train is named: images/train is beside labels.
            last = folder.parts[::-1].index('labels')
            folder = folder.parents[last]
        images = folder
    into = Collector(source.path, source.format, ImageFiles(images))
    return _READERS[source.format](source.path, source.data, into)
