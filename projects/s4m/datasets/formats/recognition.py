# SPDX-License-Identifier: Apache-2.0
"""Tell which tool wrote labels, by their content."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from . import cvat, labelme, labelstudio, via, voc, yolo
from .labelled_set import load_json

#: Names of the formats, as ``format=`` takes them.
FORMATS = ('coco', 'labelme', 'yolo', 'cvat', 'labelstudio', 'via', 'voc')

_KNOWN = (
    'COCO, labelme, YOLO segmentation, CVAT for images, Label Studio (JSON), '
    'VIA 2 and Pascal VOC are read'
)


class Source(NamedTuple):
    """Labels whose format is known.

    Attributes:
        format (str): One of ``FORMATS``.
        path (Path): The file, or the folder of formats with many files.
        data: Content of the file, where it was read.
    """

    format: str
    path: Path
    data: Any = None


def recognise(path: Path, format: str | None = None) -> Source:
    """Tell the format of labels.

    Args:
        path (Path): A file, or a folder.
        format (str, optional): Format that they must have. Defaults to None,
            any of ``FORMATS``.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        ValueError: if it is nothing that can be read, or has another format.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(
            f'The format {format!r} is unknown: choose one of '
            f'{", ".join(FORMATS)}.'
        )
    if not path.exists():
        raise FileNotFoundError(f'The labels {path} do not exist.')
    source = _folder(path, format) if path.is_dir() else _file(path)
    if format is not None and source.format != format:
        raise ValueError(
            f'{path} has the format {source.format}, not {format}. Leave '
            '--format out, or name another file.'
        )
    return source


def _file(path: Path) -> Source:
    """Tell the format of a file."""
    kind = path.suffix.lower()
    if kind in ('.yaml', '.yml'):
        return Source('yolo', path)
    if kind == '.xml':
        return _xml(path)
    if kind == '.json':
        return _json(path)
    advice = f'{_KNOWN}.'
    if kind in ('.zip', '.tar', '.gz'):
        advice = 'Unpack it and name the folder.'
    elif kind == '.csv':
        advice = 'Export the annotations as JSON.'
    elif kind == '.txt':
        advice = 'Name the folder of a YOLO set.'
    raise ValueError(f'{path} is not a file of labels. {advice}')


def _xml(path: Path) -> Source:
    root = cvat.load_xml(path)
    if cvat.is_cvat(root):
        return Source('cvat', path, root)
    advice = f'{_KNOWN}.'
    if root.tag == 'annotation':
        advice = (
            f'It has the boxes of one image: name the folder with '
            f'{voc.OBJECTS}.'
        )
    raise ValueError(
        f'{path} is an XML file of another kind (<{root.tag}>). {advice}'
    )


def _json(path: Path) -> Source:
    data = load_json(path)
    if labelme.is_labelme(data):
        return Source('labelme', path)
    if via.is_via(data):
        return Source('via', path, data)
    if labelstudio.is_labelstudio(data):
        return Source('labelstudio', path, data)
    if isinstance(data, dict) and {'images', 'annotations'} & set(data):
        return Source('coco', path, data)
    advice = f'{_KNOWN}.'
    keys: list[str] = []
    if isinstance(data, dict):
        keys = [str(key) for key in data][:5]
        if {'project', 'view', 'metadata'} <= set(data):
            advice = 'Projects of VIA 3 are not read: export COCO from VIA.'
    elif isinstance(data, list) and data and isinstance(data[0], dict):
        keys = [str(key) for key in data[0]][:5]
        if {'annotation_id', 'annotator'} & set(data[0]):
            advice = 'Export "JSON" from Label Studio, not "JSON-MIN".'
    raise ValueError(
        f'{path} is a JSON file of another kind'
        + (f' (with {", ".join(keys)})' if keys else '')
        + f'. {advice}'
    )


def _folder(path: Path, format: str | None) -> Source:
    """Tell the format of a folder; a wanted one comes first."""
    candidates: list[Source] = []
    jsons = sorted(path.rglob('*.json'))
    if any(labelme.is_labelme(_content(file)) for file in jsons[:20]):
        candidates.append(Source('labelme', path))
    if (path / voc.OBJECTS).is_dir() or _has_boxes(path):
        candidates.append(Source('voc', path))
    if yolo.label_files(path) and (
        yolo.find_names(path) or (path / 'labels').is_dir()
    ):
        candidates.append(Source('yolo', path))
    if candidates:
        wanted = [s for s in candidates if s.format == format]
        return (wanted or candidates)[0]
    # One file of another format, with its images around it.
    files = [*jsons, *sorted(path.rglob('*.xml'))]
    sources: list[Source] = []
    for file in files[:20]:
        try:
            sources.append(_file(file))
        except ValueError:
            if len(files) == 1:
                raise
    if len(sources) > 1:
        one, two = (s.path.relative_to(path) for s in sources[:2])
        raise ValueError(
            f'{path} has several files of labels, {one} and {two}: name one '
            'of them.'
        )
    if not sources:
        raise ValueError(f'{path} has no labels. {_KNOWN}.')
    return sources[0]


def _content(file: Path) -> Any:
    """Return the content of a JSON file; None where it is broken."""
    try:
        return load_json(file)
    except ValueError:
        return None


def _has_boxes(path: Path) -> bool:
    """Whether a folder has Pascal VOC's XML files."""
    files = [*path.glob('*.xml'), *path.glob('Annotations/*.xml')]
    return any(
        re.search(rb'<annotation[ >]', file.read_bytes()[:2000])
        for file in files[:3]
    )
