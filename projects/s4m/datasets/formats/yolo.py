# SPDX-License-Identifier: Apache-2.0
"""YOLO segmentation folders, as Ultralytics, Roboflow and CVAT have them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from s4m.utils.whole_files import write_whole

from .collector import Collector
from .files import place_image
from .labelled_set import LabelledSet
from .outlines import join_rings, parts_of

#: Text files that are no labels.
_NO_LABELS = ('classes.txt', 'notes.txt', 'train.txt', 'val.txt', 'test.txt')


def find_names(path: Path) -> Path | None:
    """Find the file of the class names in a folder or two folders above.

    Args:
        path (Path): A folder.

    Returns:
        Path: A YAML file with ``names``, or ``classes.txt``; None if there
        is none.
    """
    for folder in (path, *path.absolute().parents[:2]):
        for file in sorted([*folder.glob('*.yaml'), *folder.glob('*.yml')]):
            with suppress(ValueError):  # another tool's, perhaps
                if 'names' in _load_yaml(file):
                    return file
        for name in ('classes.txt', 'obj.names'):
            if (folder / name).is_file():
                return folder / name
    return None


def _load_yaml(file: Path) -> dict:
    try:
        content = yaml.safe_load(file.read_text('utf-8-sig'))
    except (yaml.YAMLError, ValueError) as e:
        line = str(e).splitlines()[0]
        raise ValueError(f'{file} is not a YAML file: {line}.') from e
    return content if isinstance(content, dict) else {}


def label_files(path: Path) -> list[Path]:
    """List the label files below a folder, sorted.

    They are in folders named ``labels``; without one, all text files are.

    Args:
        path (Path): Folder of the set, of the labels or of a split.
    """
    files = [
        f for f in sorted(path.rglob('*.txt')) if f.name not in _NO_LABELS
    ]
    inside = [f for f in files if 'labels' in f.absolute().parts[:-1]]
    return inside or files


def read(path: Path, data: Any, into: Collector) -> LabelledSet:
    """Read the label files of all splits below a folder.

    The image of ``labels/train/a.txt`` is ``images/train/a.*``, or the image
    of this name below the folder of the images. Classes have the order of
    ``names`` in the YAML file, or of ``classes.txt``. An empty label file
    says that its image has no object; images without a file are left out.

    Args:
        path (Path): Folder, or the YAML file in it.
        data: Not used.
        into (Collector): Where images and instances go.

    Raises:
        FileNotFoundError: if there are no names or no label files.
        ValueError: if a line cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    file = find_names(folder) if path.is_dir() else path
    if file is None:
        raise FileNotFoundError(
            f'{folder} has label files but no data.yaml with the names of '
            'the classes, and no classes.txt. Write one name a line into '
            f'{folder / "classes.txt"}.'
        )
    names = _names(file)
    files = label_files(folder)
    if not files:
        raise FileNotFoundError(
            f'{folder} has no label files (labels/*.txt). Export the labels '
            'as YOLO segmentation again.'
        )
    for label_file in files:
        name = _image_name(label_file, folder)
        image = into.image(into.files.find_stem(name), name)
        _read_file(label_file, image, names, into)
    return into.finish(list(enumerate(names)))


def _names(file: Path) -> list[str]:
    """Read the names of the classes in the order of their numbers."""
    if file.suffix in ('.yaml', '.yml'):
        names = _load_yaml(file).get('names')
        if isinstance(names, dict):
            numbers = sorted(names)
            if numbers != list(range(len(names))):
                raise ValueError(
                    f'{file}: the classes have the numbers {numbers}, not 0 '
                    f'to {len(names) - 1}. Number them so.'
                )
            names = [names[k] for k in numbers]
        if not isinstance(names, list) or not names:
            raise ValueError(
                f'{file} has no names of classes. Write them as names: '
                '[apple, pear].'
            )
        return [str(name) for name in names]
    lines = file.read_text('utf-8-sig').splitlines()
    return [line.strip() for line in lines if line.strip()]


def _image_name(file: Path, folder: Path) -> str:
    """Return the name of a label file's image, without its suffix."""
    parts = list(file.absolute().relative_to(folder.absolute()).parts)
    if 'labels' in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index('labels')
        parts[last] = 'images'
    elif 'labels' in folder.absolute().parts:
        above = list(folder.absolute().parts)
        last = len(above) - 1 - above[::-1].index('labels')
        parts = ['images', *above[last + 1 :], *parts]
    # Dots in the name: only .txt is the suffix, so `with_suffix` is safe.
    return Path(*parts).with_suffix('').as_posix()


def _read_file(
    file: Path, image: int, names: list[str], into: Collector
) -> None:
    """Read the lines ``class x y x y ...``, in shares of the image."""
    height, width = into.size(image)
    # Of a missing image only the error is wanted: any size does.
    scale = np.array([width or 1, height or 1])
    for number, line in enumerate(file.read_text('utf-8-sig').splitlines(), 1):
        if not line.strip():
            continue
        where = f'{file}, line {number}'
        try:
            kind, *numbers = (float(word) for word in line.split())
        except ValueError as e:
            raise ValueError(
                f'{where} is not numbers: {line[:60]!r}. Export the labels as '
                'YOLO segmentation again.'
            ) from e
        if not kind.is_integer() or not 0 <= kind < len(names):
            raise ValueError(
                f'{where} has the class {kind:g}, but there are names for 0 '
                f'to {len(names) - 1}: add the name to the YAML file.'
            )
        if len(numbers) == 4:
            into.count('boxes without a mask, left out')
            continue
        if len(numbers) % 2:
            raise ValueError(
                f'{where} has {len(numbers)} numbers after the class, not '
                'pairs of x and y. Export the labels as YOLO segmentation.'
            )
        points = np.array(numbers).reshape(-1, 2)
        if len(points) and np.abs(points).max() > 2:
            raise ValueError(
                f'{where} has the coordinate {np.abs(points).max():g}: YOLO '
                'has shares of the width and height, from 0 to 1.'
            )
        into.polygons(image, int(kind), [points * scale], where)


def write(labels: LabelledSet, out: Path) -> list[str]:
    """Write a set that Ultralytics trains on and CVAT and Roboflow import.

    ``data.yaml``, ``labels/train/`` and, where the images exist,
    ``images/train/`` with hard links, or copies on another disk. An instance
    is one polygon: parts and holes are joined by seams without an area, which
    Ultralytics draws one pixel wide. Scores and crowds are lost.

    Args:
        labels (LabelledSet): What is written.
        out (Path): The folder.

    Returns:
        list[str]: What was lost.
    """
    order = {c['id']: k for k, c in enumerate(labels.categories)}
    lines: dict[int, list[str]] = {image['id']: [] for image in labels.images}
    sizes = {i['id']: (i['height'], i['width']) for i in labels.images}
    for entry in labels.annotations:
        height, width = sizes[entry['image_id']]
        parts = parts_of(entry['segmentation'], (height, width))
        shares = join_rings(parts) / (width, height)
        numbers = ' '.join(f'{x:.6f}' for x in shares.ravel())
        lines[entry['image_id']].append(
            f'{order[entry["category_id"]]} {numbers}\n'
        )
    for image in labels.images:
        with write_whole(file_of(out, image)) as partial:
            partial.write_text(''.join(lines[image['id']]))
        place_image(labels.root, image['file_name'], out / 'images/train')
    # Without `path`, Ultralytics starts from the folder of this file.
    config = dict(
        train='images/train',
        val='images/train',
        names={k: c['name'] for k, c in enumerate(labels.categories)},
    )
    with write_whole(out / 'data.yaml') as partial:
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        partial.write_text(text, 'utf-8')
    return []


def file_of(out: Path, image: dict) -> Path:
    """Return the label file of an image."""
    return (out / 'labels/train' / image['file_name']).with_suffix('.txt')
