# SPDX-License-Identifier: Apache-2.0
"""CVAT for images 1.1: XML with polygons, masks and ellipses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from s4m.utils.whole_files import write_whole

from .collector import Collector
from .labelled_set import LabelledSet
from .outlines import parts_of
from .polygons import decode, ellipse

_NO_MASK = {
    'box': 'boxes without a mask, left out',
    'cuboid': 'boxes without a mask, left out',
    'points': 'points, left out',
    'skeleton': 'points, left out',
    'polyline': 'lines, left out',
    'tag': 'tags of images, left out',
}


def load_xml(path: Path) -> ElementTree.Element:
    """Read an XML file.

    Args:
        path (Path): The file.

    Raises:
        ValueError: if it is not XML; the message names the file.
    """
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError) as e:
        raise ValueError(
            f'{path} is not an XML file: {e}. Export the labels again.'
        ) from e


def is_cvat(root: ElementTree.Element) -> bool:
    """Whether the root of an XML file is CVAT's."""
    return root.tag == 'annotations'


def read(path: Path, data: Any, into: Collector) -> LabelledSet:
    """Read the export of a task, a job or a project.

    Polygons, masks and ellipses are read; shapes of one label and group are
    one instance. Classes have the order of the labels in the file.

    Args:
        path (Path): The file, for messages.
        data (Element): Its root.
        into (Collector): Where images and instances go.

    Raises:
        ValueError: if the file is of a video, or a shape cannot be read.
    """
    if data.find('track') is not None:
        raise ValueError(
            f"{path} has tracks of a video. Export it as 'CVAT for images "
            "1.1'."
        )
    names = [
        (label.findtext('name') or '').strip()
        for label in data.iterfind('./meta//labels/label')
    ]
    for entry in data.iterfind('image'):
        name = entry.get('name', '')
        size = entry.get('height'), entry.get('width')
        image = into.image(into.files.find(name), name, size)
        objects: dict[Any, list[ElementTree.Element]] = {}
        for number, shape in enumerate(entry):
            if shape.tag not in ('polygon', 'mask', 'ellipse'):
                other = f'shapes of the type {shape.tag}, left out'
                into.count(_NO_MASK.get(shape.tag, other))
                continue
            group = shape.get('group_id', '0')
            key = number if group == '0' else (shape.get('label'), group)
            objects.setdefault(key, []).append(shape)
        for shapes in objects.values():
            where = f'{path}: a {shapes[0].tag} ({shapes[0].get("label")})'
            _add(image, shapes, where, name, into)
    known = [name for name in dict.fromkeys(names) if name]
    return into.finish([(name, name) for name in known])


def _add(
    image: int,
    shapes: list[ElementTree.Element],
    where: str,
    name: str,
    into: Collector,
) -> None:
    """Add the instance that shapes of one group make."""
    size = into.size(image)
    polygons: list[Any] = []
    whole = np.zeros(size, bool)
    try:
        for shape in shapes:
            if shape.tag == 'polygon':
                texts = shape.get('points', '').replace(';', ',').split(',')
                polygons.append([float(text) for text in texts])
            elif shape.tag == 'ellipse':
                x, y, *radii = (
                    float(shape.attrib[k]) for k in ('cx', 'cy', 'rx', 'ry')
                )
                angle = math.radians(float(shape.get('rotation', 0)))
                polygons.append(ellipse(x, y, radii[0], radii[1], angle))
            else:
                _paste(whole, shape)
    except (KeyError, ValueError) as e:
        raise ValueError(
            f'{where} of {name} cannot be read ({e}). Export the labels again.'
        ) from e
    label = shapes[0].get('label', '')
    if all(shape.tag != 'mask' for shape in shapes):
        into.polygons(image, label, polygons, where)
        return
    if polygons:
        whole |= decode([np.ravel(p).tolist() for p in polygons], size)
    into.mask(image, label, whole, where)


def _paste(whole: np.ndarray, shape: ElementTree.Element) -> None:
    """Draw a mask: lengths of runs in a box, row by row, outside first."""
    left, top, width, height = (
        int(float(shape.attrib[k])) for k in ('left', 'top', 'width', 'height')
    )
    runs = [int(n) for n in shape.attrib['rle'].split(',')]
    values = np.arange(len(runs)) % 2 == 1
    crop = np.repeat(values, runs).reshape(height, width)
    whole[top : top + height, left : left + width] |= crop


def write(labels: LabelledSet, out: Path) -> list[str]:
    """Write CVAT for images 1.1, which a task with these images imports.

    An instance of one part without holes is a polygon, every other one a
    mask. Scores and crowds are lost.

    Args:
        labels (LabelledSet): What is written.
        out (Path): The file.

    Returns:
        list[str]: What was lost.
    """
    names = {c['id']: c['name'] for c in labels.categories}
    root = ElementTree.Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    task = ElementTree.SubElement(ElementTree.SubElement(root, 'meta'), 'task')
    ElementTree.SubElement(task, 'size').text = str(len(labels.images))
    group = ElementTree.SubElement(task, 'labels')
    for name in names.values():
        label = ElementTree.SubElement(group, 'label')
        ElementTree.SubElement(label, 'name').text = name
        ElementTree.SubElement(label, 'attributes')
    elements = {}
    for number, image in enumerate(labels.images):
        elements[image['id']] = ElementTree.SubElement(
            root,
            'image',
            id=str(number),
            name=image['file_name'],
            width=str(image['width']),
            height=str(image['height']),
        )
    for entry in labels.annotations:
        element = elements[entry['image_id']]
        size = int(element.attrib['height']), int(element.attrib['width'])
        common = dict(
            label=names[entry['category_id']],
            source='auto' if 'score' in entry else 'manual',
            occluded='0',
            z_order='0',
        )
        parts = parts_of(entry['segmentation'], size)
        if len(parts) == 1 and not parts[0].holes:
            points = ';'.join(f'{x:.2f},{y:.2f}' for x, y in parts[0].outline)
            ElementTree.SubElement(element, 'polygon', points=points, **common)
        else:
            mask = decode(entry['segmentation'], size)
            ElementTree.SubElement(element, 'mask', {**_runs(mask), **common})
    ElementTree.indent(root)
    with write_whole(out) as partial:
        ElementTree.ElementTree(root).write(
            partial, encoding='utf-8', xml_declaration=True
        )
    return []


def _runs(mask: np.ndarray) -> dict[str, str]:
    """Encode a mask as the runs in its box."""
    ys, xs = np.nonzero(mask)
    top, left = int(ys.min()), int(xs.min())
    crop = mask[top : ys.max() + 1, left : xs.max() + 1]
    flat = np.concatenate([[False], crop.ravel()])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff([0, *ends.tolist(), crop.size])
    return dict(
        rle=', '.join(map(str, runs.tolist())),
        left=str(left),
        top=str(top),
        width=str(crop.shape[1]),
        height=str(crop.shape[0]),
    )
