# SPDX-License-Identifier: Apache-2.0
"""Describe folders of images as unlabelled sets in COCO's format."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from rich.progress import track

from ..coco_io import read_coco, write_coco

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
_EXIF_ORIENTATION = 0x0112


def find_images(path: str | os.PathLike) -> list[Path]:
    """List the images below a folder in sorted order, or one image.

    Args:
        path: A folder, or an image.

    Raises:
        FileNotFoundError: if there is no image.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    images = sorted(p for p in path.rglob('*') if p.suffix.lower() in SUFFIXES)
    if not images:
        raise FileNotFoundError(
            f'No image at {path}: no file there ends in one of '
            f'{", ".join(SUFFIXES)}.'
        )
    return images


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Read the (height, width) of an image as MMCV reads it.

    Only the head of the file is read; an EXIF rotation is respected.

    Args:
        path: An image.

    Raises:
        ValueError: if the file is not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
    except (UnidentifiedImageError, OSError) as e:
        raise ValueError(f'{path} cannot be read as an image: {e}') from e
    return (width, height) if turned else (height, width)


def describe(folder: str | os.PathLike, categories: list[dict]) -> dict:
    """Make the COCO dictionary of a folder of images.

    Args:
        folder: Folder that the file names are relative to.
        categories (list[dict]): Entries ``categories`` of a COCO file.

    Returns:
        dict: ``images`` in sorted order with ids from 0, no
        ``annotations``, and ``categories``.

    Raises:
        FileNotFoundError: if there is no image.
        ValueError: if a file with the suffix of an image is not an image.
    """
    images = []
    for number, file in enumerate(track(find_images(folder), 'images')):
        height, width = image_size(file)
        name = str(file.relative_to(folder))
        images.append(
            dict(id=number, file_name=name, height=height, width=width)
        )
    return dict(images=images, annotations=[], categories=categories)


def images_to_coco(
    folder: str | os.PathLike,
    *,
    categories: str | os.PathLike,
    out: str | os.PathLike,
) -> None:
    """Write the COCO file of a folder of unlabelled images.

    Args:
        folder: Folder that the file names are relative to.
        categories: COCO file of the labelled images, whose categories are
            copied.
        out: The file to write.

    Raises:
        FileNotFoundError: if there is no image, or the COCO file is missing.
        ValueError: if a file cannot be read.
    """
    data = describe(folder, read_coco(categories)['categories'])
    write_coco(out, **data)
    print(f'{out}: {len(data["images"])} images')
