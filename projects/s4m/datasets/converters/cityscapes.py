# SPDX-License-Identifier: Apache-2.0
"""Convert Cityscapes' (or Shapes') instance PNGs to COCO files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from cityscapesscripts.helpers.labels import id2label, labels
from rich.progress import track

from ..coco_io import annotation, collect, encode_masks, write_coco

CATEGORIES = [
    dict(id=label.id, name=label.name)
    for label in labels
    if label.hasInstances and not label.ignoreInEval
]


def annotation_file(root: str | os.PathLike, split: str) -> Path:
    """Return the name of the COCO file of a split, ``train`` or ``val``.

    Example:
        >>> annotation_file('data', 'val').name
        'instancesonly_filtered_gtFine_val.json'
    """
    name = f'instancesonly_filtered_gtFine_{split}.json'
    return Path(root) / 'annotations' / name


def convert_image(png: Path) -> tuple[dict, list[dict]]:
    """Make the COCO entries of one ``*_gtFine_instanceIds.png``.

    Args:
        png (Path): File with the instance ids of an image.

    Returns:
        tuple: the image and its annotations, without ids.

    Raises:
        ValueError: if the file is not a readable PNG, or holds an id that
            Cityscapes does not have.
    """
    ids = cv2.imread(str(png), cv2.IMREAD_UNCHANGED)
    if ids is None:
        raise ValueError(f'{png} cannot be read as an image')
    annotations = []
    for value in np.unique(ids).tolist():
        # An instance has label id * 1000 + n, a group only the label id.
        label = id2label.get(value // 1000 if value >= 1000 else value)
        if label is None:
            raise ValueError(
                f'{png} holds {value}, which is not an id of Cityscapes'
            )
        if not label.hasInstances or label.ignoreInEval:
            continue
        (rle,) = encode_masks((ids == value)[None])
        annotations.append(
            annotation(None, label.id, rle, iscrowd=int(value < 1000))
        )
    city = png.parent.name
    stem = png.name.removesuffix('_gtFine_instanceIds.png')
    image = dict(
        file_name=f'{city}/{stem}_leftImg8bit.png',
        segm_file=f'{city}/{stem}_gtFine_labelIds.png',
        height=ids.shape[0],
        width=ids.shape[1],
    )
    return image, annotations


def convert_split(
    root: str | os.PathLike, split: str, workers: int | None = None
) -> dict:
    """Make the COCO dictionary of one split.

    Args:
        root: Folder with ``gtFine`` and ``leftImg8bit``.
        split (str): ``train`` or ``val``.
        workers (int, optional): Number of processes, on which the result does
            not depend. Defaults to None, the number of cores.

    Returns:
        dict: ``images`` in the sorted order of their files, so that their
        ids are the same on every machine, ``annotations`` (groups are
        ``iscrowd``), and ``categories``: the eight evaluated classes.

    Raises:
        FileNotFoundError: if no instance PNG exists, or an image is missing.
        ValueError: See :func:`convert_image`.
    """
    root = Path(root)
    folder = root / 'gtFine' / split
    files = sorted(folder.glob('*/*_gtFine_instanceIds.png'))
    if not files:
        raise FileNotFoundError(
            f"No *_gtFine_instanceIds.png below {folder}. Cityscapes' "
            'gtFine_trainvaltest.zip has them; unpack it into the data root.'
        )
    photos = root / 'leftImg8bit' / split
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(convert_image, files, chunksize=8)
        tracked = track(results, split, total=len(files))
        images, annotations = collect(_with_photo(tracked, photos))
    return dict(images=images, annotations=annotations, categories=CATEGORIES)


def _with_photo(
    results: Iterable[tuple[dict, list[dict]]], photos: Path
) -> Iterator[tuple[dict, list[dict]]]:
    """Yield the entries of images, and check that their photos exist."""
    for image, entries in results:
        path = photos / image['file_name']
        if not path.is_file():
            raise FileNotFoundError(f'{path} is missing')
        yield image, entries


def convert(
    root: str | os.PathLike,
    *,
    splits: Sequence[str] = ('train', 'val'),
    workers: int | None = None,
) -> None:
    """Write ``annotations/instancesonly_filtered_gtFine_{split}.json``.

    Args:
        root: Folder with ``gtFine`` and ``leftImg8bit``.
        splits (Sequence[str]): Splits to convert. Defaults to ``train`` and
            ``val``.
        workers (int, optional): Number of processes. Defaults to None, the
            number of cores.

    Raises:
        FileNotFoundError, ValueError: See :func:`convert_split`.
    """
    for split in splits:
        data = convert_split(root, split, workers)
        out = annotation_file(root, split)
        write_coco(out, **data)
        print(
            f'{out}: {len(data["images"])} images, '
            f'{len(data["annotations"])} instances'
        )
