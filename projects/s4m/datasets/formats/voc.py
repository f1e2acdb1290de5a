# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC's segmentation: PNGs of objects and classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from s4m.utils.whole_files import write_whole

from .collector import Collector
from .cvat import load_xml
from .files import place_image
from .labelled_set import LabelledSet
from .polygons import decode

OBJECTS, CLASSES = 'SegmentationObject', 'SegmentationClass'
IMAGES, _XMLS = 'JPEGImages', 'Annotations'
#: Colour index of borders, which belong to no object.
_VOID = 255
#: Objects of an image that a palette can number.
_MOST = _VOID - 1


def _palette() -> np.ndarray:
    """Return VOC's 256 colours: (256, 3) uint8.

    The bits of an index go to red, green and blue in turn, from the highest
    bit of a colour on.
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), int)
    for bit in range(8):
        for channel in range(3):
            value = (index >> (3 * bit + channel)) & 1
            colours[:, channel] |= value << (7 - bit)
    return colours.astype(np.uint8)


PALETTE = _palette()


def _code(colours: np.ndarray) -> np.ndarray:
    """Return colours (..., 3) as one number each."""
    return colours.astype(np.int64) @ (1 << 16, 1 << 8, 1)


_INDEX = {int(code): k for k, code in enumerate(_code(PALETTE))}


def read(path: Path, data: Any, into: Collector) -> LabelledSet:
    """Read a folder with ``SegmentationObject`` and ``SegmentationClass``.

    The class of an object is the most frequent colour of its pixels in the
    class picture, by ``labelmap.txt``; without that file, the name of the
    object with its number in ``Annotations/*.xml``. Classes have the order
    of ``labelmap.txt``, or are sorted by name.

    Args:
        path (Path): The folder.
        data: Not used.
        into (Collector): Where images and instances go.

    Raises:
        FileNotFoundError: if a class picture is missing.
        ValueError: if an object has no class, or a picture another size than
            its image.
    """
    boxes = _boxes(path)
    by_colour = _label_map(path / 'labelmap.txt')
    objects_of = sorted((path / OBJECTS).rglob('*.png'))
    for file in objects_of:
        name = file.relative_to(path / OBJECTS).with_suffix('').as_posix()
        xml = path / _XMLS / f'{name}.xml'
        found = None
        names: list[str] = []
        size: tuple[Any, Any] = (None, None)
        if xml.is_file():
            root = load_xml(xml)
            names = [o.findtext('name') or '' for o in root.iter('object')]
            filename = root.findtext('filename') or ''
            found = into.files.find(str(Path(name).parent / filename))
            size = root.findtext('size/height'), root.findtext('size/width')
        if found is None:
            found = into.files.find_stem(f'{IMAGES}/{name}')
        image = into.image(found, name, size)
        numbers = _indices(file)
        class_file = path / CLASSES / f'{name}.png'
        kinds = None
        if by_colour:
            if not class_file.is_file():
                raise FileNotFoundError(
                    f'{class_file} is missing. Export the labels again.'
                )
            kinds = _colours(class_file)
            if kinds.shape != numbers.shape:
                raise ValueError(
                    f'{class_file} has another size than {file}. Export the '
                    'labels again.'
                )
        for number in np.unique(numbers):
            if number in (0, _VOID):
                continue
            mask = numbers == number
            label = None
            if kinds is not None:
                codes, counts = np.unique(kinds[mask], return_counts=True)
                label = by_colour.get(int(codes[counts.argmax()]))
            elif 0 < number <= len(names):
                label = names[number - 1]
            if not label:
                raise ValueError(
                    f'{file}: object {number} has no class in labelmap.txt '
                    f'or {xml.name}. Export the labels as "Segmentation '
                    'mask" with labelmap.txt.'
                )
            into.mask(image, label, mask, f'{file}: object {number}')
    left = boxes - len(objects_of)
    if left > 0:
        into.count('images with boxes only, left out', left)
    known = [n for n in by_colour.values() if n != 'background']
    return into.finish([(name, name) for name in known])


def _boxes(path: Path) -> int:
    """Count the XML files, which are boxes."""
    return len([*path.glob('*.xml'), *(path / _XMLS).rglob('*.xml')])


def _label_map(file: Path) -> dict[int, str]:
    """Read lines ``name:r,g,b:parts:actions``; none without the file.

    Lines without a colour have the palette's, in order, as datumaro's do.
    """
    if not file.is_file():
        return {}
    names: dict[int, str] = {}
    for line in file.read_text('utf-8-sig').splitlines():
        if not line.strip() or line.startswith('#'):
            continue
        name, *rest = line.split(':')
        try:
            colour = PALETTE[len(names)]
            if rest[0]:
                colour = np.array([int(c) for c in rest[0].split(',')])
            names[int(_code(colour))] = name.strip()
        except (IndexError, ValueError) as e:
            raise ValueError(
                f'{file} has the line {line!r}, not name:r,g,b:parts:actions.'
            ) from e
    return names


def _open(file: Path) -> Image.Image:
    try:
        picture = Image.open(file)
        picture.load()
    except OSError as e:
        raise ValueError(
            f'{file} cannot be read as an image: {e}. Export it again.'
        ) from e
    return picture


def _indices(file: Path) -> np.ndarray:
    """Read numbers of objects (H, W), from a palette, grey or colours."""
    picture = _open(file)
    if picture.mode in ('P', 'L', 'I', 'I;16', '1'):
        return np.asarray(picture).astype(np.int64)
    codes = _code(np.asarray(picture.convert('RGB')))
    distinct, places = np.unique(codes, return_inverse=True)
    # Colours outside VOC's palette are objects, too.
    numbers = [_INDEX.get(int(code), 256 + int(code)) for code in distinct]
    return np.array(numbers)[places].reshape(codes.shape)


def _colours(file: Path) -> np.ndarray:
    """Read colours (H, W) as numbers; grey values are VOC's indices."""
    picture = _open(file)
    if picture.mode == 'L':
        return _code(PALETTE)[np.asarray(picture)]
    return _code(np.asarray(picture.convert('RGB')))


def write(labels: LabelledSet, out: Path) -> list[str]:
    """Write VOC's folders, as CVAT's "Segmentation mask" has them.

    ``SegmentationObject``, ``SegmentationClass``, ``Annotations`` (boxes),
    ``ImageSets/Segmentation/default.txt``, ``labelmap.txt`` and, where the
    images exist, ``JPEGImages`` with hard links, or copies on another disk.
    A pixel has one object: where two overlap, the later one keeps it. Scores
    and crowds are lost.

    Args:
        labels (LabelledSet): What is written.
        out (Path): The folder.

    Returns:
        list[str]: What was lost.

    Raises:
        ValueError: if there are more objects of an image or classes than a
            palette has colours.
    """
    if len(labels.categories) > _MOST:
        raise ValueError(
            f'{len(labels.categories)} classes: VOC has colours for {_MOST}. '
            'Choose another format.'
        )
    for category in labels.categories:
        if set(category['name']) & set(':\n'):
            raise ValueError(
                f'The class {category["name"]!r} has a colon, which '
                'labelmap.txt uses. Call it otherwise.'
            )
    colour = {c['id']: k for k, c in enumerate(labels.categories, 1)}
    names = {c['id']: c['name'] for c in labels.categories}
    hidden = 0
    stems = []
    for image, entries in labels.by_image():
        if len(entries) > _MOST:
            raise ValueError(
                f'{image["file_name"]} has {len(entries)} objects: VOC has '
                f'colours for {_MOST} in an image. Choose another format.'
            )
        size = image['height'], image['width']
        objects, classes = np.zeros((2, *size), np.uint8)
        for number, entry in enumerate(entries, 1):
            mask = decode(entry['segmentation'], size)
            objects[mask] = number
            classes[mask] = colour[entry['category_id']]
        hidden += len(entries) - len(np.unique(objects[objects > 0]))
        stem = Path(image['file_name']).with_suffix('').as_posix()
        stems.append(stem)
        for folder, indices in ((OBJECTS, objects), (CLASSES, classes)):
            with write_whole(out / folder / f'{stem}.png') as partial:
                picture = Image.fromarray(indices)
                picture.putpalette(PALETTE.ravel().tolist())
                picture.save(partial, 'PNG')
        with write_whole(out / _XMLS / f'{stem}.xml') as partial:
            _xml(image, entries, names).write(partial, encoding='utf-8')
        place_image(labels.root, image['file_name'], out / IMAGES)
    sets = out / 'ImageSets/Segmentation/default.txt'
    with write_whole(sets) as partial:
        partial.write_text(''.join(f'{s}\n' for s in stems), 'utf-8')
    rows = ['# label:color_rgb:parts:actions', 'background:0,0,0::']
    for key, name in names.items():
        rows.append(f'{name}:{",".join(map(str, PALETTE[colour[key]]))}::')
    with write_whole(out / 'labelmap.txt') as partial:
        partial.write_text('\n'.join(rows) + '\n', 'utf-8')
    return [f'objects that others cover: {hidden}'] * (hidden > 0)


def file_of(out: Path, image: dict) -> Path:
    """Return the picture of an image's objects."""
    return (out / OBJECTS / image['file_name']).with_suffix('.png')


def _xml(
    image: dict, entries: list[dict], names: dict[int, str]
) -> ElementTree.ElementTree:
    """Return the XML of an image: its size and the boxes of its objects."""
    root = ElementTree.Element('annotation')

    def add(parent: ElementTree.Element, **texts: Any) -> None:
        for tag, text in texts.items():
            ElementTree.SubElement(parent, tag).text = str(text)

    add(root, folder='', filename=Path(image['file_name']).name)
    size = ElementTree.SubElement(root, 'size')
    add(size, width=image['width'], height=image['height'], depth=3)
    add(root, segmented=1)
    for entry in entries:
        item = ElementTree.SubElement(root, 'object')
        add(item, name=names[entry['category_id']], pose='Unspecified')
        add(item, truncated=0, difficult=0, occluded=0)
        x, y, width, height = entry['bbox']
        box = ElementTree.SubElement(item, 'bndbox')
        add(box, xmin=x, ymin=y, xmax=x + width, ymax=y + height)
    ElementTree.indent(root)
    return ElementTree.ElementTree(root)
