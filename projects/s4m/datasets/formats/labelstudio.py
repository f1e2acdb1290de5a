# SPDX-License-Identifier: Apache-2.0
"""Label Studio's JSON: tasks with polygons, ellipses and brushes."""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from s4m.utils.whole_files import write_json

from . import brush_rle
from .collector import Collector
from .image_files import ImageFiles
from .labelled_set import LabelledSet
from .outlines import parts_of
from .polygons import decode, ellipse

#: Name of the image in the data of written tasks, and of the tags.
_IMAGE = 'image'
_LOCAL = '/data/local-files/?d='
_NO_MASK = {
    'rectangle': 'boxes without a mask, left out',
    'keypoint': 'points, left out',
    'vector': 'lines, left out',
    'choices': 'choices, left out',
    'textarea': 'texts, left out',
    'relation': 'relations, left out',
}


def is_labelstudio(data: Any) -> bool:
    """Whether the content of a JSON file is Label Studio's export."""
    return isinstance(data, list) and any(
        isinstance(task, dict)
        and isinstance(task.get('data'), dict)
        and {'annotations', 'predictions'} & set(task)
        for task in data
    )


def read(path: Path, data: Any, into: Collector) -> LabelledSet:
    """Read the export "JSON" of a project.

    Polygons, ellipses and brushes are read from the last annotation of each
    task that was not cancelled, or from the one that is marked as ground
    truth. Tasks without one are not labelled: they are left out, and
    predictions that nobody accepted with them. Classes are sorted by name,
    since the export has no list of them.

    Args:
        path (Path): The file, for messages.
        data (list): Its content.
        into (Collector): Where images and instances go.

    Raises:
        ValueError: if a region cannot be read.
    """
    for number, task in enumerate(data):
        chosen = [
            a
            for a in task.get('annotations') or []
            if not a.get('was_cancelled')
        ]
        if not chosen:
            into.count('tasks without an annotation, left out')
            continue
        if len(chosen) > 1:
            into.count('tasks with several annotations, of which one is read')
        chosen.sort(key=lambda a: bool(a.get('ground_truth')))
        regions = _regions(chosen[-1].get('result') or [])
        name = _image_value(path, number, task, regions)
        size = (None, None)
        for region in regions:
            size = region.get('original_height'), region.get('original_width')
            if None not in size:
                break
        image = into.image(_find(into.files, name, task), name, size)
        for region in regions:
            where = f'{path}: region {region.get("id")}'
            _add(image, region, f'{where} of {name}', into)
    return into.finish()


def _regions(result: list[dict]) -> list[dict]:
    """Merge the entries of one region: its shape, and its label."""
    merged: dict[Any, dict] = {}
    for number, entry in enumerate(result):
        key = entry.get('id', number)
        old = merged.get(key)
        value = (old or {}).get('value', {}) | (entry.get('value') or {})
        if old is None or old.get('type') == 'labels':
            old = entry
        merged[key] = dict(old, value=value)
    return list(merged.values())


def _image_value(
    path: Path, number: int, task: dict, regions: list[dict]
) -> str:
    """Return what the task says of its image: an address or a path."""
    values = task.get('data') or {}
    names = [r.get('to_name') for r in regions] + [_IMAGE, 'img', 'url']
    for name in names:
        if isinstance(values.get(name), str):
            return values[name]
    texts = [v for v in values.values() if isinstance(v, str)]
    if len(texts) != 1:
        raise ValueError(
            f'{path}: task {task.get("id", number)} has no {_IMAGE!r} in its '
            f'data. Call the image {_IMAGE!r} in the labelling setup.'
        )
    return texts[0]


def _find(files: ImageFiles, value: str, task: dict) -> Path | None:
    """Find the image of a task."""
    address = urlsplit(value)
    name = unquote(address.path)
    if 'd' in (query := parse_qs(address.query)):
        name = query['d'][0]
    found = files.find(name.lstrip('/'))
    if found is None:
        found = files.find_upload(str(task.get('file_upload') or name))
    return found


def _add(image: int, region: dict, where: str, into: Collector) -> None:
    """Add the instance of a region."""
    value = region['value']
    kind = str(region.get('type', '')).removesuffix('labels')
    if kind in ('', 'labels'):  # separate tags for shape and label
        shapes = {'points': 'polygon', 'rle': 'brush', 'radiusX': 'ellipse'}
        kind = next((v for k, v in shapes.items() if k in value), 'rectangle')
    if kind not in ('polygon', 'ellipse', 'brush'):
        other = f'regions of the type {kind}, left out'
        into.count(_NO_MASK.get(kind, other))
        return
    labels = [n for k in value if k.endswith('labels') for n in value[k]]
    if len(labels) != 1:
        raise ValueError(
            f'{where} has the labels {labels}: give it exactly one.'
        )
    if region.get('image_rotation'):
        raise ValueError(
            f'{where}: the image was turned in Label Studio by '
            f'{region["image_rotation"]} degrees. Turn it back and label it '
            'again.'
        )
    height, width = into.size(image)
    try:
        if kind == 'brush':
            size = region['original_height'], region['original_width']
            mask = brush_rle.unpack(value['rle'], size)
        elif kind == 'ellipse':
            points = ellipse(
                value['x'] * width / 100,
                value['y'] * height / 100,
                value['radiusX'] * width / 100,
                value['radiusY'] * height / 100,
                math.radians(value.get('rotation') or 0),
            )
        else:
            points = np.array(value['points'], float)
            points = points * ((width or 1) / 100, (height or 1) / 100)
    except (KeyError, OverflowError, TypeError, ValueError) as e:
        raise ValueError(
            f'{where}: the {kind} cannot be read ({e}). Draw it again.'
        ) from e
    if kind == 'brush':
        into.mask(image, labels[0], mask, where)
    else:
        into.polygons(image, labels[0], [points], where)


def write(labels: LabelledSet, out: Path) -> list[str]:
    """Write tasks for the import into Label Studio.

    The project's labelling setup needs both tags::

        <View>
          <Image name="image" value="$image"/>
          <PolygonLabels name="polygon" toName="image">
            <Label value="apple"/>
          </PolygonLabels>
          <BrushLabels name="brush" toName="image">
            <Label value="apple"/>
          </BrushLabels>
        </View>

    An instance of one part without holes is a polygon, every other one a
    brush. Images are addressed in Label Studio's local storage, relative to
    its document root: ``/data/local-files/?d=NAME``. A task whose instances
    have scores gets a prediction, every other one an annotation. Crowds are
    lost.

    Args:
        labels (LabelledSet): What is written.
        out (Path): The file.

    Returns:
        list[str]: What was lost.
    """
    names = {c['id']: c['name'] for c in labels.categories}
    tasks = []
    for image, entries in labels.by_image():
        size = image['height'], image['width']
        result = []
        for entry in entries:
            region = _region(entry, names[entry['category_id']], size)
            if 'score' in entry:
                region['score'] = entry['score']
            result.append(region)
        scores = [e['score'] for e in entries if 'score' in e]
        task: dict[str, Any] = dict(
            data={_IMAGE: _LOCAL + quote(image['file_name'])}
        )
        if scores:
            mean = sum(scores) / len(scores)
            task['predictions'] = [
                dict(model_version='s4m', score=mean, result=result)
            ]
        else:
            task['annotations'] = [dict(result=result)]
        tasks.append(task)
    write_json(out, tasks)
    return []


def _region(entry: dict, name: str, size: tuple[int, int]) -> dict:
    """Return the region of an instance."""
    height, width = size
    parts = parts_of(entry['segmentation'], size)
    value: dict[str, Any]
    if len(parts) == 1 and not parts[0].holes:
        kind = 'polygon'
        shares = parts[0].outline / (width, height) * 100
        value = dict(points=shares.tolist(), closed=True)
    else:
        kind = 'brush'
        mask = decode(entry['segmentation'], size)
        value = dict(format='rle', rle=brush_rle.pack(mask))
    value[f'{kind}labels'] = [name]
    return dict(
        id=uuid.uuid4().hex[:10],
        type=f'{kind}labels',
        from_name=kind,
        to_name=_IMAGE,
        original_width=width,
        original_height=height,
        image_rotation=0,
        value=value,
    )
