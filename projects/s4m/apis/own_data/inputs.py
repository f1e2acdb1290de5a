# SPDX-License-Identifier: Apache-2.0
"""Read what a person has: labels, images, more images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import track

from s4m.apis.photos import common_folder
from s4m.datasets.coco_io import write_coco
from s4m.datasets.converters.images import find_images, image_size
from s4m.datasets.formats import LabelledSet, read_labels

from .facts import hold_out, select_images


@dataclass
class OwnData:
    """The three sets of a run, as COCO dictionaries with their folders.

    Attributes:
        labeled (dict): Images with objects that are trained on.
        labeled_root (Path): Folder that their file names are relative to.
        unlabeled (dict): Images without labels, perhaps none.
        unlabeled_root (Path, optional): Their folder.
        validation (dict): Images with labels to validate on, perhaps none.
        validation_root (Path, optional): Their folder.
        notes (list[str]): What was left out or decided, a sentence each.
    """

    labeled: dict[str, Any]
    labeled_root: Path
    unlabeled: dict[str, Any]
    unlabeled_root: Path | None = None
    validation: dict[str, Any] = field(default_factory=lambda: _empty([]))
    validation_root: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return tuple(c['name'] for c in self.labeled['categories'])

    def write(self, folder: str | Path) -> None:
        """Write ``labeled.json``, and the other sets that have images.

        Args:
            folder (str | Path): Folder of the files.
        """
        for name in ('labeled', 'unlabeled', 'validation'):
            data = getattr(self, name)
            if data['images'] or name == 'labeled':
                file = 'val.json' if name == 'validation' else f'{name}.json'
                write_coco(
                    Path(folder, file),
                    images=data['images'],
                    annotations=data['annotations'],
                    categories=data['categories'],
                )


def read_inputs(
    labeled: str | os.PathLike,
    images: str | os.PathLike | None = None,
    unlabeled: str | os.PathLike | None = None,
    val: str | os.PathLike | None = None,
    seed: int = 0,
) -> OwnData:
    """Read the labelled, the unlabelled and the validation images.

    Labelled images without an object count as unlabelled: nobody knows
    whether they are empty or have not been labelled yet.

    Args:
        labeled: Labels in a format of :mod:`s4m.datasets.formats`.
        images: Folder of the labelled images. Defaults to None, the place
            that the labels name, or beside them.
        unlabeled: Folder of images, or a text file with one path a line,
            relative to the file. Defaults to None, the images in the
            labelled ones' folder that have no label.
        val: Labels of the validation images. Defaults to None, a seeded
            choice of the labelled ones (:func:`~s4m.apis.own_data.facts.
            hold_out`).
        seed (int): Seed of this choice. Defaults to 0.

    Raises:
        FileNotFoundError: if a file or folder does not exist.
        ValueError: if the labels have no object with a mask, or the labelled
            and the validation images overlap or have other classes.
    """
    labels = read_labels(labeled, images)
    notes = [f'{labeled}: {note}' for note in labels.notes]
    data = labels.to_coco()
    shown = {a['image_id'] for a in data['annotations']}
    empty = [i for i in data['images'] if i['id'] not in shown]
    if not shown:
        raise ValueError(
            f'{labeled} has {len(empty)} images and no object with a mask: '
            'draw some, or name another file'
        )
    if empty:
        notes.append(
            f'{len(empty)} of {len(data["images"])} images of {labeled} have '
            'no object and count as unlabelled'
        )
        data = select_images(data, shown)
    data = _with_objects(data, labeled, notes)
    own = OwnData(data, labels.root, _empty(data['categories']), notes=notes)
    if val is not None:
        _add_validation(own, _read_val(val, images), val, labeled)
    else:
        _hold_out(own, seed)
    _add_unlabeled(own, labels, unlabeled, empty)
    return own


def _empty(categories: list) -> dict[str, Any]:
    return dict(images=[], annotations=[], categories=categories)


def _with_objects(
    data: dict[str, Any], file: str | os.PathLike, notes: list[str]
) -> dict[str, Any]:
    """Leave out the classes that no object has."""
    names = [c['name'] for c in data['categories']]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(
            f'{file} has the category {twice[0]!r} twice: rename one, or '
            'merge them'
        )
    used = {a['category_id'] for a in data['annotations']}
    unused = [c['name'] for c in data['categories'] if c['id'] not in used]
    if unused:
        shown = ', '.join(unused[:10]) + (', ...' if len(unused) > 10 else '')
        notes.append(
            f'{len(unused)} classes of {file} have no object and are left '
            f'out: {shown}'
        )
    kept = [c for c in data['categories'] if c['id'] in used]
    return dict(data, categories=kept)


def _real(root: Path, image: Mapping[str, Any]) -> str:
    return os.path.realpath(root / image['file_name'])


def _read_val(
    val: str | os.PathLike, images: str | os.PathLike | None
) -> LabelledSet:
    """Read validation labels; their images may be among the labelled ones'."""
    if images is not None:
        with suppress(FileNotFoundError):
            return read_labels(val, images)
    return read_labels(val)


def _add_validation(
    own: OwnData,
    labels: LabelledSet,
    val: str | os.PathLike,
    labeled: str | os.PathLike,
) -> None:
    """Add the validation images of a file, with the labelled ones' classes."""
    own.notes += [f'{val}: {note}' for note in labels.notes]
    data = labels.to_coco()
    ours = {_real(own.labeled_root, i) for i in own.labeled['images']}
    both = [
        i['file_name'] for i in data['images'] if _real(labels.root, i) in ours
    ]
    if both:
        raise ValueError(
            f'{len(both)} images are in {labeled} and in {val}, such as '
            f'{both[0]}: an AP on images that were trained on says nothing. '
            'Remove them from one of the two, or leave --val out'
        )
    names = {c['id']: c['name'] for c in data['categories']}
    ids = {c['name']: c['id'] for c in own.labeled['categories']}
    unknown = sorted(set(names.values()) - set(ids))
    used = {names[a['category_id']] for a in data['annotations']}
    if not used & set(ids):
        raise ValueError(
            f'{val} has the classes {sorted(names.values())}, {labeled} has '
            f'{list(ids)}: name a file with the same ones'
        )
    if unknown:
        own.notes.append(
            f'{val}: objects of the classes {unknown} are left out, since '
            f'{labeled} has none'
        )
    own.validation = dict(
        images=data['images'],
        annotations=[
            dict(a, category_id=ids[names[a['category_id']]])
            for a in data['annotations']
            if names[a['category_id']] in ids
        ],
        categories=own.labeled['categories'],
    )
    own.validation_root = labels.root


def _hold_out(own: OwnData, seed: int) -> None:
    """Move some labelled images to the validation set."""
    every = own.labeled
    chosen = hold_out(every, seed)
    if not chosen:
        own.notes.append(
            f'{len(every["images"])} labelled images are too few to validate '
            'on some of them: all are trained on and no AP is reported. '
            'Label 6, or name others with --val'
        )
        return
    rest = {i['id'] for i in every['images']} - set(chosen)
    left = select_images(every, rest)
    used = {a['category_id'] for a in left['annotations']}
    lost = [c['name'] for c in every['categories'] if c['id'] not in used]
    if lost:
        raise ValueError(
            f'The class {lost[0]} is only in images that would be held out '
            f'for validation ({len(chosen)} of {len(every["images"])}): label '
            'more images of it, or name validation images with --val'
        )
    own.labeled = left
    own.validation = select_images(every, chosen)
    own.validation_root = own.labeled_root
    own.notes.append(
        f'{len(chosen)} of {len(every["images"])} labelled images are held '
        f'out to validate on (seed {seed}): with so few, an AP is uncertain'
    )


def _add_unlabeled(
    own: OwnData,
    labels: LabelledSet,
    unlabeled: str | os.PathLike | None,
    empty: list[dict],
) -> None:
    """Add the unlabelled images; those of the validation set stay out."""
    files: list[Path]
    if unlabeled is None:
        known = {_real(labels.root, i) for i in labels.images}
        files = [
            f
            for f in find_images(labels.root)
            if os.path.realpath(f) not in known
        ]
    elif Path(unlabeled).is_dir():
        files = find_images(unlabeled)
    else:
        files = _listed(Path(unlabeled))
    files += [labels.root / i['file_name'] for i in empty]
    hidden = set()
    if own.validation_root is not None:
        root = own.validation_root
        hidden = {_real(root, i) for i in own.validation['images']}
    unique = {os.path.realpath(f): f for f in files}
    kept = [f.absolute() for path, f in unique.items() if path not in hidden]
    if len(kept) < len(unique):
        own.notes.append(
            f'{len(unique) - len(kept)} unlabelled images are validation '
            'images too, and left out'
        )
    if not kept:
        return
    root = common_folder(kept)
    entries = []
    for number, file in enumerate(
        track(sorted(kept), 'sizes of images', transient=True), 1
    ):
        height, width = image_size(file)
        entries.append(
            dict(
                id=number,
                file_name=str(file.relative_to(root)),
                height=height,
                width=width,
            )
        )
    own.unlabeled = dict(_empty(own.labeled['categories']), images=entries)
    own.unlabeled_root = root


def _listed(file: Path) -> list[Path]:
    """Read a list of images, one path a line."""
    if not file.is_file():
        raise FileNotFoundError(
            f'--unlabeled {file} is neither a folder nor a list of images'
        )
    if file.suffix.lower() == '.json':
        raise ValueError(
            f'--unlabeled {file}: name the folder of the images, or a text '
            'file with one path a line'
        )
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as e:
        raise ValueError(
            f'--unlabeled {file} is not a list of images: name a folder, or '
            'a text file with one path a line'
        ) from e
    files = [file.parent / line.strip() for line in lines if line.strip()]
    missing = [f for f in files if not f.is_file()]
    if missing:
        raise FileNotFoundError(
            f'{file} names {len(missing)} files that do not exist, such as '
            f'{missing[0]}'
        )
    return files
