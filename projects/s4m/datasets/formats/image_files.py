# SPDX-License-Identifier: Apache-2.0
"""Find the images that label files name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..converters.images import SUFFIXES

#: Folders of pictures that are labels: Pascal VOC's.
_LABELS = {'SegmentationObject', 'SegmentationClass'}
#: What Label Studio puts before the name of an upload.
_UPLOADED = re.compile(r'^[0-9a-f]{8}-')


def _plain(name: str) -> str:
    """Write a name with /, and letters with accents as one character."""
    return unicodedata.normalize('NFC', name.replace('\\', '/'))


def _as_uploaded(name: str) -> str:
    """Spell a file name as Django's uploads, and so Label Studio's, do."""
    return re.sub(r'[^\w.-]', '', _plain(name).replace(' ', '_'))


class ImageFiles:
    """The images below a folder, found by the names in label files.

    Args:
        root: The folder.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = Path(os.path.abspath(root))
        if not self.root.is_dir():
            raise FileNotFoundError(
                f'The folder of the images {root} does not exist.'
            )

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        """Images below the folder by their names without folders."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.root.rglob('*')):
            inside = set(path.relative_to(self.root).parts)
            if path.suffix.lower() in SUFFIXES and not inside & _LABELS:
                found.setdefault(_plain(path.name), []).append(path)
        return found

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        """The same images by their names without the suffix, too."""
        found: dict[str, list[Path]] = {}
        for paths in self._by_name.values():
            for path in paths:
                found.setdefault(_plain(path.stem), []).append(path)
        return found

    @cached_property
    def _by_upload(self) -> dict[str, list[Path]]:
        """The same images by the names that uploads give them."""
        found: dict[str, list[Path]] = {}
        for paths in self._by_name.values():
            for path in paths:
                found.setdefault(_as_uploaded(path.name), []).append(path)
        return found

    def find(self, *names: str) -> Path | None:
        """Find an image by name.

        A name is a path relative to the folder, or absolute. Otherwise the
        image may lie in any sub-folder: of several with the name, the one
        that shares most of the folders in ``names`` is taken.

        Args:
            *names: Ways to say the name, the best first.

        Returns:
            Path: The image, absolute; None if there is none.

        Raises:
            ValueError: if several images fit as well.
        """
        for name in names:
            for spelling in (name, _plain(name)):
                path = Path(os.path.abspath(self.root / spelling))
                if spelling and path.is_file():
                    return path
        for name in names:
            found = self._by_name.get(PurePosixPath(_plain(name)).name)
            if found:
                return self._nearest(found, name)
        for name in names:
            if _UPLOADED.match(PurePosixPath(_plain(name)).name):
                return self.find_upload(name)
        return None

    def find_stem(self, *names: str) -> Path | None:
        """Find an image by its name without the suffix, see :meth:`find`.

        Args:
            *names: Ways to say the name, the best first.

        Raises:
            ValueError: if several images fit as well.
        """
        for name in names:
            found = self._by_stem.get(PurePosixPath(_plain(name)).name, [])
            exact = [
                path
                for path in found
                if _plain(str(path.relative_to(self.root).with_suffix('')))
                == _plain(name)
            ]
            if found:
                return self._nearest(exact or found, name)
        return None

    def find_upload(self, name: str) -> Path | None:
        """Find the image of a name that an upload changed.

        Label Studio writes ``my photo.jpg`` as ``0a1b2c3d-my_photo.jpg``.

        Args:
            name (str): The changed name.

        Raises:
            ValueError: if several images fit as well.
        """
        name = PurePosixPath(_plain(name)).name
        found = self._by_upload.get(_as_uploaded(name))
        if not found:
            name = _UPLOADED.sub('', name)
            found = self._by_upload.get(_as_uploaded(name))
        return self._nearest(found, name) if found else None

    def _nearest(self, found: list[Path], name: str) -> Path:
        """Choose the path that ends most like a name."""
        wanted = PurePosixPath(_plain(name)).parts[-2::-1]
        shared = []
        for path in found:
            folders = PurePosixPath(_plain(str(path))).parts[-2::-1]
            pairs = zip(folders, wanted, strict=False)
            equal = [a == b for a, b in pairs]
            shared.append([*equal, False].index(False))
        best = [
            p for p, n in zip(found, shared, strict=True) if n == max(shared)
        ]
        if len(best) > 1:
            one, two = (p.relative_to(self.root) for p in best[:2])
            raise ValueError(
                f'The image {name!r} may be {one} or {two} in {self.root}: '
                'write the folder into the name in the label file, or name '
                'the folder of the images more precisely.'
            )
        return best[0]


def common_root(root: Path, files: Sequence[Path]) -> Path:
    """Return ``root``, or the folder above all files and it.

    Args:
        root (Path): A folder, absolute.
        files (Sequence[Path]): Files, absolute.
    """
    if all(root in file.parents for file in files):
        return root
    return Path(os.path.commonpath([root, *(f.parent for f in files)]))
