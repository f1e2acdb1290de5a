# SPDX-License-Identifier: Apache-2.0
"""Labelled images as all formats are read and written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class LabelledSet:
    """Images, instances and classes, in COCO's terms.

    Attributes:
        images (list[dict]): ``id`` from 1, ``file_name`` relative to
            ``root``, with /, ``height`` and ``width`` as MMCV reads them.
        annotations (list[dict]): ``id`` from 1, ``image_id``,
            ``category_id``, ``segmentation`` (polygons inside the image, or
            RLE), ``bbox`` and ``area`` of the mask, ``iscrowd``, and
            ``score`` where the file has it.
        categories (list[dict]): ``id`` from 1 and ``name``.
        root (Path): Folder of the images, absolute.
        format (str): Format that was read.
        notes (list[str]): What was left out or changed, a line each.
    """

    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    root: Path
    format: str
    notes: list[str] = field(default_factory=list)

    def to_coco(self) -> dict[str, list[dict]]:
        """Return the dictionary of a COCO file."""
        return dict(
            images=self.images,
            annotations=self.annotations,
            categories=self.categories,
        )

    def by_image(self) -> Iterator[tuple[dict, list[dict]]]:
        """Yield each image with its annotations."""
        entries: dict[Any, list[dict]] = {i['id']: [] for i in self.images}
        for entry in self.annotations:
            entries[entry['image_id']].append(entry)
        for image in self.images:
            yield image, entries[image['id']]


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path (Path): The file, UTF-8 with or without a mark.

    Raises:
        ValueError: if it is not JSON; the message names the file.
    """
    try:
        return json.loads(path.read_bytes().decode('utf-8-sig'))
    except ValueError as e:
        raise ValueError(
            f'{path} is not a JSON file: {e}. Export the labels again.'
        ) from e
