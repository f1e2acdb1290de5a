# SPDX-License-Identifier: Apache-2.0
"""Collect and check what the readers of all formats find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from ..coco_io import encode_masks
from ..converters.images import image_size
from .image_files import ImageFiles, common_root
from .labelled_set import LabelledSet
from .polygons import checked_rle, clip, polygons_rle

#: Farther than this outside the image, in pixels, a polygon is noted.
_OUTSIDE = 0.5


class Collector:
    """Collects what a reader finds, and checks it.

    Args:
        source (Path): File or folder of the labels, for messages.
        format (str): Name of the format.
        files (ImageFiles): The images.
    """

    def __init__(self, source: Path, format: str, files: ImageFiles) -> None:
        self.source, self.format, self.files = source, format, files
        self._images: list[dict] = []
        self._names: list[str] = []
        self._paths: list[Path | None] = []
        self._entries: dict[Path, str] = {}
        self._objects: list[dict] = []
        self._missing: dict[int, str] = {}
        self._other_size: list[str] = []
        self._counts: Counter[str] = Counter()

    def count(self, what: str, number: int = 1) -> None:
        """Count something that was left out, or changed.

        Args:
            what (str): What it is, in the plural.
            number (int): How many. Defaults to 1.
        """
        self._counts[what] += number

    def image(
        self,
        path: Path | None,
        name: str,
        size: tuple[Any, Any] = (None, None),
    ) -> int:
        """Add an image.

        Args:
            path (Path, optional): The file, None if there is none.
            name (str): Name in the label file, for messages.
            size (tuple): Height and width in the label file; what is not a
                positive number is not compared with the image.

        Returns:
            int: Number of the image, for :meth:`polygons` and :meth:`mask`.

        Raises:
            ValueError: if two entries are one image, or it cannot be read.
        """
        number = len(self._images)
        stated = _sides(size)
        if path is None:
            self._missing[number] = name
            height, width = stated or (0, 0)
        else:
            if path in self._entries:
                raise ValueError(
                    f'{self.source}: the entries {self._entries[path]!r} and '
                    f'{name!r} are one image, {path}. Leave one out, or write '
                    'the folders into their names.'
                )
            self._entries[path] = name
            height, width = image_size(path)
            if stated and stated != (height, width):
                turned = stated == (width, height)
                self._other_size.append(
                    f'{self.source}: {path} is {height} x {width} pixels '
                    f'(height x width) when it is read, the labels say '
                    f'{stated[0]} x {stated[1]}.'
                    + ' Is it turned by EXIF?'
                    * turned
                )
        self._images.append(dict(height=height, width=width))
        self._names.append(name)
        self._paths.append(path)
        return number

    def size(self, image: int) -> tuple[int, int]:
        """Return the height and width of an image; 0 where unknown."""
        entry = self._images[image]
        return entry['height'], entry['width']

    def polygons(
        self,
        image: int,
        category: Any,
        polygons: Iterable[Any],
        where: str,
        **fields: Any,
    ) -> None:
        """Add an instance whose mask is the union of polygons.

        Args:
            image (int): Number of the image.
            category: Name or id of its class, as given to :meth:`finish`.
            polygons (Iterable): Points (x, y), or flat lists x, y, x, y.
            where (str): The instance, for messages.
            **fields: Further fields of the annotation.

        Raises:
            ValueError: if a polygon has fewer than 3 points, or one is not
                a number.
        """
        rings = [self._points(p, image, where) for p in polygons]
        if image in self._missing and self.size(image) == (0, 0):
            # Reported at the end: nothing can be drawn without a size.
            self._objects.append(dict(image=image, category=category))
            return
        size = self.size(image)
        kept = []
        for ring in rings:
            inside = clip(ring, size)
            limits = np.array([size[1], size[0]])
            if (ring < -_OUTSIDE).any() or (ring > limits + _OUTSIDE).any():
                self.count('polygons cut off at the border of their image')
            if len(inside) >= 3:
                kept.append(inside.round(3).ravel().tolist())
        rle = polygons_rle(kept, size) if kept else None
        if rle is None or not mask_utils.area(rle):
            self.count('polygons without a pixel inside their image, left out')
            return
        self._add(image, category, kept, rle, fields)

    def mask(
        self,
        image: int,
        category: Any,
        mask: np.ndarray | dict,
        where: str,
        **fields: Any,
    ) -> None:
        """Add an instance with a mask.

        Args:
            image (int): Number of the image.
            category: Name or id of its class, as given to :meth:`finish`.
            mask (ndarray | dict): (H, W) bool, or RLE.
            where (str): The instance, for messages.
            **fields: Further fields of the annotation.

        Raises:
            ValueError: if the mask has another size than the image.
        """
        shape = mask['size'] if isinstance(mask, dict) else mask.shape
        size = self.size(image)
        if size != (0, 0) and tuple(shape) != size:
            raise ValueError(
                f'{where}: the mask is {shape[0]} x {shape[1]} pixels, its '
                f'image {self._names[image]} is {size[0]} x {size[1]}. Export '
                'the labels again for this image.'
            )
        if isinstance(mask, np.ndarray):
            (rle,) = encode_masks(mask[None])
        else:
            rle = checked_rle(mask, where)
        counts = rle['counts']
        if isinstance(counts, bytes):
            counts = counts.decode()
        rle = dict(size=[int(n) for n in shape], counts=counts)
        if not mask_utils.area(rle):
            self.count('empty masks left out')
            return
        self._add(image, category, rle, rle, fields)

    def finish(
        self, names: Sequence[tuple[Any, str]] | None = None
    ) -> LabelledSet:
        """Check and return what was collected.

        Args:
            names (Sequence, optional): Pairs of a category, as the instances
                have it, and its name, in the order of the file. Names that
                are not among them follow in sorted order. Defaults to None,
                which has none.

        Raises:
            FileNotFoundError: if labelled images are missing.
            ValueError: if there is no instance with a mask, an image has
                another size than its labels, or two categories one name.
        """
        used = {entry['image'] for entry in self._objects}
        self._check_images(used)
        if not self._objects:
            self._refuse_nothing()
        found = {entry['category'] for entry in self._objects}
        names = list(names or [])
        more = found - {key for key, _ in names}
        names += [(name, name) for name in sorted(more)]
        twice = [n for n, k in Counter(n for _, n in names).items() if k > 1]
        if twice:
            raise ValueError(
                f'{self.source} has the class {twice[0]!r} twice: give the '
                'classes different names.'
            )
        ids = {key: number for number, (key, _) in enumerate(names, 1)}
        categories = [
            dict(id=number, name=name)
            for number, (_, name) in enumerate(names, 1)
        ]
        images, places = self._finished_images(used)
        annotations = []
        for number, entry in enumerate(self._objects, 1):
            image, category = entry.pop('image'), entry.pop('category')
            annotations.append(
                dict(
                    id=number,
                    image_id=places[image],
                    category_id=ids[category],
                    **entry,
                )
            )
        root = common_root(self.files.root, [p for p in self._paths if p])
        for image in images:
            path = image['file_name'].relative_to(root)
            image['file_name'] = path.as_posix()
        counted = {entry['category_id'] for entry in annotations}
        unused = [c['name'] for c in categories if c['id'] not in counted]
        if unused:
            listed = ', '.join(map(str, unused))
            self.count(f'classes without an object ({listed})', len(unused))
        notes = [f'{what}: {number}' for what, number in self._counts.items()]
        return LabelledSet(
            images, annotations, categories, root, self.format, notes
        )

    # ---------------------------------------------------------------- parts
    def _points(self, polygon: Any, image: int, where: str) -> np.ndarray:
        """Return the (n, 2) points of a polygon."""
        try:
            points = np.asarray(polygon, np.float64).reshape(-1, 2)
        except (TypeError, ValueError) as e:
            raise ValueError(
                f'{where} of {self._names[image]}: a polygon is not a list of '
                f'pairs of numbers. Draw it again.'
            ) from e
        if len(points) < 3 or not np.isfinite(points).all():
            what = f'has {len(points)} points, 3 are the least'
            if len(points) >= 3:
                what = 'has a coordinate that is not a number'
            raise ValueError(
                f'{where} of {self._names[image]}: a polygon {what}. Draw it '
                'again, or remove it.'
            )
        return points

    def _add(
        self,
        image: int,
        category: Any,
        segmentation: list | dict,
        rle: dict,
        fields: dict,
    ) -> None:
        entry = dict(
            image=image,
            category=category,
            segmentation=segmentation,
            bbox=mask_utils.toBbox(rle).tolist(),
            area=int(mask_utils.area(rle)),
            iscrowd=0,
        )
        self._objects.append(entry | fields)

    def _check_images(self, used: set[int]) -> None:
        """Refuse missing images and other sizes."""
        lost = [self._missing[k] for k in sorted(used & set(self._missing))]
        if lost:
            dots = ' ...' if len(lost) > 3 else ''
            raise FileNotFoundError(
                f'{len(lost)} of {len(self._images)} images in {self.source} '
                f'are not in {self.files.root} or below: '
                f'{", ".join(lost[:3])}{dots}. Name the folder of the images.'
            )
        if self._other_size:
            more = len(self._other_size) - 1
            raise ValueError(
                self._other_size[0]
                + f' {more} more images differ.' * (more > 0)
                + ' Correct the labels, or save the image again.'
            )

    def _refuse_nothing(self) -> None:
        """Say why there is no instance."""
        found = ', '.join(f'{k}: {n}' for k, n in self._counts.items())
        raise ValueError(
            f'{self.source} has no object with a mask'
            + (f' ({found}).' if found else '.')
            + ' Draw polygons or masks: training needs them.'
        )

    def _finished_images(
        self, used: set[int]
    ) -> tuple[list[dict], dict[int, int]]:
        """Number the images that exist; return them and their new ids."""
        images: list[dict] = []
        places: dict[int, int] = {}
        for number, (image, path) in enumerate(
            zip(self._images, self._paths, strict=True)
        ):
            if path is None:
                self.count('images without a file or object, left out')
                continue
            if number not in used:
                self.count('images without an object')
            places[number] = len(images) + 1
            images.append(dict(id=places[number], file_name=path, **image))
        return images, places


def _sides(size: tuple[Any, Any]) -> tuple[int, int] | None:
    """Return the height and width if both are positive numbers."""
    try:
        height, width = (int(float(side)) for side in size)
    except (TypeError, ValueError):
        return None
    return (height, width) if min(height, width) > 0 else None
