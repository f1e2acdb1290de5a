# SPDX-License-Identifier: Apache-2.0
"""Convert ADE20K's instance PNGs to COCO files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mmdet.datasets import ADE20KInstanceDataset
from rich.progress import track

from ..coco_io import annotation, collect, encode_masks, write_coco
from .images import image_size

CATEGORIES = [
    dict(id=i + 1, name=name)
    for i, name in enumerate(ADE20KInstanceDataset.METAINFO['classes'])
]
#: Names of the splits in the challenge's folders.
SPLITS = dict(train='training', val='validation')


def convert_image(png: Path, photos: Path) -> tuple[dict, list[dict]]:
    """Make the COCO entries of one PNG.

    Args:
        png (Path): File with classes (1 to 100) in the red channel and
            instances in the green channel.
        photos (Path): Folder of the photos.

    Returns:
        tuple: the image and its annotations, without ids.

    Raises:
        FileNotFoundError: if the photo does not exist.
        ValueError: if a file cannot be read, sizes differ, a class is not in
            0..100, or an instance has two classes.
    """
    values = cv2.imread(str(png), cv2.IMREAD_COLOR)
    if values is None:
        raise ValueError(f'{png} cannot be read as an image')
    photo = photos / f'{png.stem}.jpg'
    if not photo.is_file():
        raise FileNotFoundError(f'{photo} is missing')
    size = image_size(photo)
    if size != values.shape[:2]:
        raise ValueError(
            f'{png} is {values.shape[0]} x {values.shape[1]} pixels, {photo} '
            f'{size[0]} x {size[1]}'
        )
    classes, instances = values[..., 2], values[..., 1]
    annotations = []
    for value in np.unique(instances[classes > 0]).tolist():
        mask = (instances == value) & (classes > 0)
        kinds = np.unique(classes[mask]).tolist()
        if len(kinds) > 1:
            raise ValueError(
                f'{png}: instance {value} has the classes {kinds}'
            )
        if kinds[0] > len(CATEGORIES):
            raise ValueError(
                f'{png} has the class {kinds[0]}; there are {len(CATEGORIES)}'
            )
        (rle,) = encode_masks(mask[None])
        annotations.append(annotation(None, kinds[0], rle))
    image = dict(file_name=photo.name, height=size[0], width=size[1])
    return image, annotations


def convert_split(
    root: str | os.PathLike, split: str, workers: int | None = None
) -> dict:
    """Make the COCO dictionary of one split.

    Args:
        root: Folder with ``images`` and ``annotations_instance``.
        split (str): ``train`` or ``val``.
        workers (int, optional): Number of processes, on which the result does
            not depend. Defaults to None, the number of cores.

    Returns:
        dict: ``images`` in the sorted order of their files, so that their
        ids are the same on every machine, ``annotations``, and
        ``categories`` with MMDetection's 100 names.

    Raises:
        FileNotFoundError: if no PNG exists, or a photo is missing.
        ValueError: if the split is unknown; see also :func:`convert_image`.
    """
    if split not in SPLITS:
        raise ValueError(f'Split {split!r} is not one of {list(SPLITS)}')
    root = Path(root)
    folder = root / 'annotations_instance' / SPLITS[split]
    files = sorted(folder.glob('*.png'))
    if not files:
        raise FileNotFoundError(
            f'No PNG in {folder}. annotations_instance.tar of the Places '
            'Challenge 2017 has them; unpack it into the data root.'
        )
    photos = root / 'images' / SPLITS[split]
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(
            partial(convert_image, photos=photos), files, chunksize=8
        )
        images, annotations = collect(track(results, split, total=len(files)))
    return dict(images=images, annotations=annotations, categories=CATEGORIES)


def convert(
    root: str | os.PathLike,
    *,
    splits: Sequence[str] = tuple(SPLITS),
    workers: int | None = None,
) -> None:
    """Write ``ade20k_instance_{split}.json`` below the data root.

    Args:
        root: Folder with ``images`` and ``annotations_instance``.
        splits (Sequence[str]): Splits to convert. Defaults to ``train`` and
            ``val``.
        workers (int, optional): Number of processes. Defaults to None, the
            number of cores.

    Raises:
        FileNotFoundError, ValueError: See :func:`convert_split`.
    """
    for split in splits:
        data = convert_split(root, split, workers)
        out = Path(root) / f'ade20k_instance_{split}.json'
        write_coco(out, **data)
        print(
            f'{out}: {len(data["images"])} images, '
            f'{len(data["annotations"])} instances'
        )
