# SPDX-License-Identifier: Apache-2.0
"""Convert labels from one annotation tool's format to another's."""

from __future__ import annotations

import os
from pathlib import Path

from s4m.datasets.formats import read_labels, write_labels


def convert_labels(
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    format: str,
    images: str | os.PathLike | None = None,
) -> Path:
    """Read labels of any format and write them in another one.

    What was left out or lost is printed, a line each.

    Args:
        source: File or folder of labels, see
            :func:`s4m.datasets.formats.read_labels`.
        out: File or folder that is written.
        format (str): Format that is written, one of
            ``s4m.datasets.formats.FORMATS``.
        images: Folder of the images. Defaults to None, beside the labels.

    Returns:
        Path: What was written.

    Raises:
        FileNotFoundError: if labels or images are missing.
        FileExistsError: if a file would be overwritten.
        ValueError: if the labels cannot be read or written.

    Example::

        convert_labels('annotations.xml', 'apples.json', format='coco')
    """
    labels = read_labels(source, images)
    written = write_labels(labels, out, format)
    for note in labels.notes + written.notes:
        print(f'  {note}')
    print(
        f'{written.path}: {len(labels.annotations)} objects in '
        f'{len(labels.images)} images, read as {labels.format}'
    )
    return written.path
