# SPDX-License-Identifier: Apache-2.0
"""COCO JSON: polygons and RLE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s4m.utils.whole_files import write_json

from ..coco_checks import check_coco
from .collector import Collector
from .labelled_set import LabelledSet

#: Keys of entries that nothing can be done without.
_NEEDED = dict(
    images=('id', 'file_name'),
    categories=('id', 'name'),
    annotations=('image_id', 'category_id'),
)


def read(path: Path, data: Any, into: Collector) -> LabelledSet:
    """Read a COCO dictionary.

    Classes and images have the order of the file. Instances without a
    segmentation, which are boxes or keypoints, are left out.

    Args:
        path (Path): The file, for messages.
        data (dict): Its content.
        into (Collector): Where images and instances go.

    Raises:
        ValueError: if a list or a key is missing, or an entry contradicts
            another one.
    """
    for name, keys in _NEEDED.items():
        entries = data.get(name)
        if not isinstance(entries, list):
            raise ValueError(
                f'{path} has no list {name!r}, which COCO files have. Export '
                'it again with images, annotations and categories.'
            )
        for number, entry in enumerate(entries):
            lacks = [key for key in keys if key not in entry]
            if lacks:
                raise ValueError(
                    f'{path}: entry {number} of {name!r} has no {lacks[0]!r}. '
                    'Export the file again.'
                )
    check_coco(dict(data, annotations=[]), str(path))
    numbers = {}
    for image in data['images']:
        name = str(image['file_name'])
        size = image.get('height'), image.get('width')
        numbers[image['id']] = into.image(into.files.find(name), name, size)
    for entry in data['annotations']:
        mask = entry.get('segmentation')
        if isinstance(mask, dict) and not {'size', 'counts'} <= set(mask):
            raise ValueError(
                f'{path}: annotation {entry.get("id")} has an RLE without '
                'size or counts. Export the file again.'
            )
    check_coco(data, str(path))
    for entry in data['annotations']:
        segmentation = entry.get('segmentation')
        where = f'{path}: annotation {entry.get("id")}'
        fields = dict(iscrowd=int(bool(entry.get('iscrowd'))))
        if entry.get('score') is not None:
            fields['score'] = entry['score']
        if fields['iscrowd']:
            into.count('crowds (iscrowd 1), which training leaves out')
        target = numbers[entry['image_id']], entry['category_id']
        if not segmentation or segmentation == [[]]:
            what = 'keypoints' if entry.get('keypoints') else 'boxes'
            into.count(f'{what} without a mask, left out')
        elif isinstance(segmentation, dict):
            into.mask(*target, segmentation, where, **fields)
        else:
            if not isinstance(segmentation[0], list):
                segmentation = [segmentation]
            into.polygons(*target, segmentation, where, **fields)
    return into.finish([(c['id'], str(c['name'])) for c in data['categories']])


def write(labels: LabelledSet, out: Path) -> list[str]:
    """Write COCO JSON, which keeps everything.

    Args:
        labels (LabelledSet): What is written.
        out (Path): The file.

    Returns:
        list[str]: What was lost: nothing.
    """
    write_json(out, labels.to_coco())
    return []
