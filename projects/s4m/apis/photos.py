# SPDX-License-Identifier: Apache-2.0
"""Find and load a person's images, some of which may be broken."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import Compose
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from s4m.datasets.converters.images import find_images, image_size

PathLike = str | os.PathLike
_WILD = frozenset('*?[')


def find_photos(images: PathLike | Sequence[PathLike]) -> list[Path]:
    """List images by folder, file or pattern.

    Args:
        images: A folder with its subfolders, a file, a pattern such as
            ``'photos/**/*.jpg'``, or several of them. A file or folder whose
            name has the characters of a pattern is no pattern.

    Returns:
        list[Path]: the images, each once, in the order in which they are
        named; those of a folder or pattern are sorted.

    Raises:
        FileNotFoundError: if a name or a pattern leads to no image.

    Example::

        find_photos(['photos/', 'more/*.png'])
    """
    if isinstance(images, str | os.PathLike):
        images = [images]
    found: dict[str, Path] = {}
    for name in images:
        path = Path(name)
        if path.exists():
            places = [path]
        elif _WILD & set(str(name)):
            places = sorted(map(Path, glob.glob(str(name), recursive=True)))
        else:
            raise FileNotFoundError(f'{name} (images) does not exist')
        if not places:
            raise FileNotFoundError(f'No image fits the pattern {name}')
        for place in places:
            # A pattern with ** finds the folders of the images, too.
            if place.is_dir() and len(places) > 1:
                continue
            for file in find_images(place):
                found.setdefault(os.path.abspath(file), file)
    if not found:
        raise FileNotFoundError('No image was named')
    return list(found.values())


def common_folder(files: Sequence[Path]) -> Path:
    """Return the deepest folder that has all of some files, absolute.

    Example:
        >>> common_folder([Path('/a/b/1.png'), Path('/a/c/1.png')]).as_posix()
        '/a'
    """
    return Path(os.path.commonpath([os.path.abspath(f.parent) for f in files]))


@dataclass(frozen=True)
class Photo:
    """An image that was read.

    Attributes:
        file (Path): The file.
        packed (dict): Inputs of a detector's ``test_step``.
        pixels (ndarray): (H, W, 3) uint8 BGR at the size of the file.
    """

    file: Path
    packed: dict[str, Any]
    pixels: np.ndarray


class Photos(Dataset):
    """Loads images with a test pipeline and reports those that are broken.

    Args:
        files (Sequence[Path]): The images; an image's id is its index.
        pipeline (Sequence[dict]): Test pipeline of a config. Steps that load
            annotations are left out.

    An item is a :class:`Photo`, or the name of a file that is not an image.

    Example::

        photos = Photos(find_photos('photos/'), cfg.test_dataloader.dataset
                        .pipeline)
        photos[0].pixels.shape
    """

    def __init__(
        self, files: Sequence[Path], pipeline: Sequence[dict[str, Any]]
    ) -> None:
        self.files = list(files)
        steps = [s for s in pipeline if not s['type'].startswith('LoadAnn')]
        self.load, *self.steps = Compose(steps).transforms

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Photo | Path:
        """Load one image."""
        file = self.files[index]
        results = dict(img_path=str(file), img_id=index)
        try:
            results = self.load(results)
        # MMCV asserts that OpenCV returned an image.
        except (OSError, ValueError, AssertionError, cv2.error):
            return file
        if results is None:
            return file
        pixels = results['img']
        for step in self.steps:
            results = step(results)
        return Photo(file, results, pixels)


def read_batches(
    photos: Photos, batch_size: int, broken: list[Path], device: str
) -> Iterator[list[Photo]]:
    """Yield the readable images in batches and show the progress.

    Args:
        photos (Photos): The images.
        batch_size (int): Number of images in a batch.
        broken (list[Path]): List that gets the images that are broken.
        device (str): Device of the network: beside a GPU, processes load the
            images.

    Yields:
        list[Photo]: 1 to ``batch_size`` images.
    """
    cores = len(os.sched_getaffinity(0))
    loader = DataLoader(
        photos,
        batch_size,
        num_workers=0 if device == 'cpu' else min(4, cores - 1),
        collate_fn=list,
    )
    for items in track(loader, 'images', total=len(loader)):
        batch = [item for item in items if isinstance(item, Photo)]
        broken += [item for item in items if not isinstance(item, Photo)]
        if batch:
            yield batch


def describe_photos(
    files: Sequence[Path], root: Path
) -> tuple[list[dict[str, Any]], list[Path]]:
    """Describe images as COCO does, and find those that are broken.

    An image counts if OpenCV decodes it, which it does at an eighth of the
    size where the format can (JPEG).

    Args:
        files (Sequence[Path]): Images.
        root (Path): Folder that their file names are relative to.

    Returns:
        tuple: entries with ids from 1 and ``file_name``, ``height`` and
        ``width``; and the broken files.
    """

    def size(file: Path) -> tuple[int, int] | None:
        try:
            found = image_size(file)
            pixels = cv2.imread(str(file), cv2.IMREAD_REDUCED_GRAYSCALE_8)
        except (ValueError, cv2.error):
            return None
        return None if pixels is None else found

    entries: list[dict[str, Any]] = []
    broken = []
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(min(8, cores)) as pool:
        sizes = track(
            pool.map(size, files), 'reading', len(files), transient=True
        )
        for file, found in zip(files, sizes, strict=True):
            if found is None:
                broken.append(file)
                continue
            name = Path(os.path.abspath(file)).relative_to(root).as_posix()
            height, width = found
            entries.append(
                dict(
                    id=len(entries) + 1,
                    file_name=name,
                    height=height,
                    width=width,
                )
            )
    return entries, broken


def check_some_readable(
    num_readable: int, broken: Sequence[Path], what: str
) -> None:
    """Refuse images of which none can be read.

    Args:
        num_readable (int): Number of images that were read.
        broken (Sequence[Path]): The others.
        what (str): The argument, for the message.

    Raises:
        ValueError: if none could be read.
    """
    if num_readable == 0:
        raise ValueError(
            f'{what}: {len(broken)} of {len(broken)} files cannot be read as '
            f'an image, such as {broken[0]}'
        )


def check_new(out: PathLike) -> Path:
    """Return the path of results that do not exist yet.

    Args:
        out: Folder of the results.

    Raises:
        FileExistsError: if it is a file, or a folder with files.
    """
    out = Path(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise FileExistsError(
            f'{out} exists already: remove it, or name another with --out'
        )
    return out
