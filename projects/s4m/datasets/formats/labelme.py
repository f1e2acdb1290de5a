# SPDX-License-Identifier: Apache-2.0
"""labelme's JSON files, one for each image."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from s4m.utils.whole_files import write_json

from .collector import Collector
from .labelled_set import LabelledSet, load_json
from .outlines import parts_of
from .polygons import decode, ellipse

#: Shapes that are no mask, and how they are counted.
_NO_MASK = {
    'rectangle': 'boxes without a mask',
    'oriented_rectangle': 'boxes without a mask',
    'point': 'points',
    'points': 'points',
    'line': 'lines',
    'linestrip': 'lines',
}
#: Labels of labelme's own examples that are no class.
_NO_CLASS = ('__ignore__', '_background_')


def is_labelme(data: Any) -> bool:
    """Whether the content of a JSON file is labelme's."""
    return isinstance(data, dict) and isinstance(data.get('shapes'), list)


def read(path: Path, data: Any, into: Collector) -> LabelledSet:
    """Read a folder of labelme's files, or one of them.

    Polygons, circles and masks are read; shapes of one label and group are
    one instance. Classes are sorted by name, since the files have no list of
    them.

    Args:
        path (Path): Folder, with sub-folders, or file.
        data: Not used.
        into (Collector): Where images and instances go.

    Raises:
        ValueError: if a file is broken.
    """
    folder = path if path.is_dir() else path.parent
    for file in sorted(path.rglob('*.json')) if path.is_dir() else [path]:
        content = load_json(file)
        if is_labelme(content):
            _read_file(file, content, file.relative_to(folder).parent, into)
        else:
            into.count("JSON files that are not labelme's, left out")
    return into.finish()


def _read_file(
    file: Path, content: dict, folder: Path, into: Collector
) -> None:
    """Read one file, whose images have names relative to its folder."""
    name = str(content.get('imagePath') or '').replace('\\', '/')
    if not name:
        raise ValueError(
            f'{file} has no imagePath. Open and save it in labelme again.'
        )
    beside = PurePosixPath(folder.as_posix()) / name
    image = into.image(
        into.files.find(str(beside), name),
        str(beside),
        (content.get('imageHeight'), content.get('imageWidth')),
    )
    objects: dict[Any, list[dict]] = {}
    for number, shape in enumerate(content['shapes']):
        kind = shape.get('shape_type') or 'polygon'
        label = str(shape.get('label'))
        if label in _NO_CLASS:
            into.count(f'shapes of the label {label}, left out')
        elif kind in _NO_MASK:
            into.count(f'{_NO_MASK[kind]}, left out')
        elif kind not in ('polygon', 'circle', 'mask'):
            into.count(f'shapes of the type {kind}, left out')
        else:
            group = shape.get('group_id')
            key = number if group is None else (label, group)
            objects.setdefault(key, []).append(shape)
    for shapes in objects.values():
        where = f'{file}: shape {content["shapes"].index(shapes[0])}'
        _add(image, shapes, where, into)


def _add(image: int, shapes: list[dict], where: str, into: Collector) -> None:
    """Add the instance that shapes of one group make."""
    label = str(shapes[0]['label'])
    kinds = [shape.get('shape_type') or 'polygon' for shape in shapes]
    polygons: list[Any] = []
    for shape, kind in zip(shapes, kinds, strict=True):
        if kind == 'polygon':
            polygons.append(shape.get('points'))
        elif kind == 'circle':
            polygons.append(_circle(shape, where))
    if 'mask' not in kinds:
        into.polygons(image, label, polygons, where)
        return
    size = into.size(image)
    whole = np.zeros(size, bool)
    for shape, kind in zip(shapes, kinds, strict=True):
        if kind == 'mask':
            _paste(whole, shape, where)
    if polygons:
        flat = [np.ravel(p).tolist() for p in polygons]
        whole |= decode(flat, size)
    into.mask(image, label, whole, where)


def _circle(shape: dict, where: str) -> np.ndarray:
    """Return the polygon of a circle: its centre and a point on it."""
    try:
        (x, y), (u, v) = np.asarray(shape['points'], float).tolist()
        radius = math.dist((x, y), (u, v))
        return ellipse(x, y, radius, radius)
    except (KeyError, TypeError, ValueError) as e:
        raise ValueError(
            f'{where}: a circle has two points: its centre and one on it '
            f'({e}). Draw it again.'
        ) from e


def _paste(whole: np.ndarray, shape: dict, where: str) -> None:
    """Draw a mask, a PNG of the box between two points, into an image."""
    try:
        x, y = (int(value) for value in shape['points'][0])
        png = io.BytesIO(base64.b64decode(shape['mask']))
        crop = np.asarray(Image.open(png).convert('L')) > 0
    except (LookupError, OverflowError, TypeError, ValueError, OSError) as e:
        raise ValueError(
            f'{where}: the mask cannot be read: {e}. Draw it again.'
        ) from e
    # What is outside the image is cut off.
    height, width = whole.shape
    crop = crop[max(-y, 0) :, max(-x, 0) :]
    y, x = max(y, 0), max(x, 0)
    crop = crop[: max(height - y, 0), : max(width - x, 0)]
    whole[y : y + crop.shape[0], x : x + crop.shape[1]] |= crop


def write(labels: LabelledSet, out: Path) -> list[str]:
    """Write a file for each image, as labelme 5.2 and newer read it.

    Polygons stay polygons, RLE masks become such; several parts of an
    instance share a group. An instance with holes becomes a shape of the
    type ``mask``, which labelme shows but cannot edit by its points. Scores
    are lost.

    Args:
        labels (LabelledSet): What is written; ``imagePath`` leads from the
            file to the image below its root.
        out (Path): The folder. The files have the sub-folders of the images.

    Returns:
        list[str]: What was lost.
    """
    names = {c['id']: c['name'] for c in labels.categories}
    for image, entries in labels.by_image():
        target = file_of(out, image)
        path = os.path.relpath(labels.root / image['file_name'], target.parent)
        size = image['height'], image['width']
        shapes: list[dict] = []
        for group, entry in enumerate(entries, 1):
            name = names[entry['category_id']]
            shapes += _shapes(entry, name, group, size)
        content = dict(
            version='5.5.0',
            flags={},
            shapes=shapes,
            imagePath=Path(path).as_posix(),
            imageData=None,
            imageHeight=image['height'],
            imageWidth=image['width'],
        )
        write_json(target, content, indent=2, ensure_ascii=False)
    return []


def file_of(out: Path, image: dict) -> Path:
    """Return labelme's file of an image."""
    return (out / image['file_name']).with_suffix('.json')


def _shapes(
    entry: dict, name: str, group: int, size: tuple[int, int]
) -> Iterable[dict]:
    """Yield the shapes of an instance."""
    parts = parts_of(entry['segmentation'], size)
    common = dict(label=name, flags={}, description='')
    if any(part.holes for part in parts):
        mask = decode(entry['segmentation'], size)
        ys, xs = np.nonzero(mask)
        x1, y1, x2, y2 = xs.min(), ys.min(), xs.max(), ys.max()
        buffer = io.BytesIO()
        crop = mask[y1 : y2 + 1, x1 : x2 + 1]
        Image.fromarray(crop.astype(np.uint8) * 255).save(buffer, 'PNG')
        yield dict(
            common,
            points=[[float(x1), float(y1)], [float(x2), float(y2)]],
            group_id=None,
            shape_type='mask',
            mask=base64.b64encode(buffer.getvalue()).decode(),
        )
        return
    for part in parts:
        yield dict(
            common,
            points=part.outline.tolist(),
            group_id=group if len(parts) > 1 else None,
            shape_type='polygon',
        )
