# SPDX-License-Identifier: Apache-2.0
"""VGG Image Annotator, versions 1 and 2: projects and exported regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from s4m.utils.whole_files import write_json

from .collector import Collector
from .labelled_set import LabelledSet
from .outlines import join_rings, parts_of
from .polygons import ellipse

#: Attributes that name the class where regions have several.
_CLASS_KEYS = ('class', 'label', 'category', 'name', 'type', 'object')
#: Class of regions without any attribute.
_NO_NAME = 'object'
_NO_MASK = {
    'rect': 'boxes without a mask, left out',
    'point': 'points, left out',
    'polyline': 'lines, left out',
}


def is_via(data: Any) -> bool:
    """Whether the content of a JSON file is a VIA project or export."""
    if not isinstance(data, dict) or not data:
        return False
    if '_via_img_metadata' in data:
        return True
    return all(
        isinstance(v, dict) and {'filename', 'regions'} <= set(v)
        for v in data.values()
    )


def read(path: Path, data: Any, into: Collector) -> LabelledSet:
    """Read a project or the exported regions.

    Polygons, circles and ellipses are read. The class is the only attribute
    of the regions, or the one named class, label, category, name, type or
    object. Classes have the order of the project's options where it has
    them, and are sorted by name otherwise.

    Args:
        path (Path): The file, for messages.
        data (dict): Its content.
        into (Collector): Where images and instances go.

    Raises:
        ValueError: if no attribute can be the class, or a region has none.
    """
    entries = data.get('_via_img_metadata', data)
    regions = {key: _regions(entry) for key, entry in entries.items()}
    everything = [region for found in regions.values() for region in found]
    attribute = _class_attribute(path, everything)
    for key, entry in entries.items():
        name = str(entry.get('filename'))
        image = into.image(into.files.find(name), name)
        for number, region in enumerate(regions[key]):
            where = f'{path}: region {number}'
            shape = region.get('shape_attributes') or {}
            kind = str(shape.get('name'))
            if kind not in ('polygon', 'circle', 'ellipse'):
                other = f'regions of the shape {kind}, left out'
                into.count(_NO_MASK.get(kind, other))
                continue
            try:
                points = _points(shape)
            except (KeyError, TypeError, ValueError) as e:
                raise ValueError(
                    f'{where} of {name}: the {kind} cannot be read ({e!r}). '
                    'Draw it again.'
                ) from e
            label = _label(region, attribute)
            if label is None:
                raise ValueError(
                    f'{where} of {name} has no single value of {attribute!r}, '
                    'which names the class. Choose one in VIA.'
                )
            if attribute is None:
                into.count(f'regions without a class, called {_NO_NAME!r}')
            into.polygons(image, label, [points], where)
    attributes = data.get('_via_attributes', {}).get('region', {})
    options = attributes.get(str(attribute), {}).get('options')
    names = list(options) if isinstance(options, dict) else []
    return into.finish([(n, n) for n in names] if names else None)


def _regions(entry: dict) -> list[dict]:
    """Return the regions of an image; version 1 has numbers for keys."""
    regions = entry.get('regions') or []
    return list(regions.values()) if isinstance(regions, dict) else regions


def _class_attribute(path: Path, regions: list[dict]) -> str | None:
    """Return the attribute that names the classes; None without any."""
    keys: dict[str, None] = {}
    for region in regions:
        keys.update(dict.fromkeys(region.get('region_attributes') or {}))
    if len(keys) <= 1:
        return next(iter(keys), None)
    for wanted in _CLASS_KEYS:
        for key in keys:
            if key.lower() == wanted:
                return key
    raise ValueError(
        f'{path}: the regions have the attributes {", ".join(keys)}: call the '
        'one that is the class "class" in VIA.'
    )


def _label(region: dict, attribute: str | None) -> str | None:
    """Return the class of a region: a text, or the only box that is ticked."""
    if attribute is None:
        return _NO_NAME
    value = (region.get('region_attributes') or {}).get(attribute)
    if isinstance(value, dict):
        ticked = [name for name, on in value.items() if on]
        return ticked[0] if len(ticked) == 1 else None
    return str(value).strip() or None if value is not None else None


def _points(shape: dict) -> np.ndarray:
    """Return the points of a region."""
    if shape['name'] == 'polygon':
        xs, ys = shape['all_points_x'], shape['all_points_y']
        return np.array(list(zip(xs, ys, strict=True)), float)
    x, y = float(shape['cx']), float(shape['cy'])
    if shape['name'] == 'circle':
        return ellipse(x, y, float(shape['r']), float(shape['r']))
    radii = float(shape['rx']), float(shape['ry'])
    return ellipse(x, y, *radii, float(shape.get('theta') or 0))


def write(labels: LabelledSet, out: Path) -> list[str]:
    """Write a project of VIA 2, whose attribute ``class`` is the class.

    An instance is one polygon: parts and holes are joined by seams without
    an area. Scores and crowds are lost.

    Args:
        labels (LabelledSet): What is written; VIA finds the images below
            their root where it lies now.
        out (Path): The file.

    Returns:
        list[str]: What was lost.
    """
    names = {c['id']: c['name'] for c in labels.categories}
    sizes = {i['id']: (i['height'], i['width']) for i in labels.images}
    regions: dict[int, list[dict]] = {i['id']: [] for i in labels.images}
    for entry in labels.annotations:
        image = entry['image_id']
        outline = join_rings(parts_of(entry['segmentation'], sizes[image]))
        shape = dict(
            name='polygon',
            all_points_x=outline[:, 0].round(2).tolist(),
            all_points_y=outline[:, 1].round(2).tolist(),
        )
        regions[image].append(
            dict(
                shape_attributes=shape,
                region_attributes={'class': names[entry['category_id']]},
            )
        )
    metadata = {}
    for image in labels.images:
        file = labels.root / image['file_name']
        size = file.stat().st_size if file.is_file() else -1
        metadata[f'{image["file_name"]}{size}'] = dict(
            filename=image['file_name'],
            size=size,
            regions=regions[image['id']],
            file_attributes={},
        )
    project = dict(
        _via_settings=_settings(out.stem, f'{labels.root.as_posix()}/'),
        _via_img_metadata=metadata,
        _via_attributes=dict(
            region={
                'class': dict(
                    type='dropdown',
                    description='',
                    options={name: '' for name in names.values()},
                    default_options={},
                )
            },
            file={},
        ),
        _via_data_format_version='2.0.10',
        _via_image_id_list=list(metadata),
    )
    write_json(out, project)
    return []


def _settings(name: str, folder: str) -> dict:
    """Return the settings that VIA 2 expects in a project."""
    return dict(
        ui=dict(
            annotation_editor_height=25,
            annotation_editor_fontsize=0.8,
            leftsidebar_width=18,
            image_grid=dict(
                img_height=80,
                rshape_fill='none',
                rshape_fill_opacity=0.3,
                rshape_stroke='yellow',
                rshape_stroke_width=2,
                show_region_shape=True,
                show_image_policy='all',
            ),
            image=dict(
                region_label='class',
                region_color='class',
                region_label_font='10px Sans',
                on_image_annotation_editor_placement='NEAR_REGION',
            ),
        ),
        core=dict(
            buffer_size=18,
            filepath={},
            default_filepath=folder,
        ),
        project=dict(name=name),
    )
