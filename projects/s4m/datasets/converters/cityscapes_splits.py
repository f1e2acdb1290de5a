# SPDX-License-Identifier: Apache-2.0
"""Split Cityscapes' (or Shapes') training set into two parts."""

from __future__ import annotations

import os
from pathlib import Path

from ..coco_io import read_coco, write_coco
from .cityscapes import annotation_file
from .coco_splits import Splitter, draw

SUFFIX = '_gtFine_instanceIds.png'
PUBLISHED = (
    'The lists perc_{5,10,20,30}.txt are published with the code of Guided '
    'Distillation (github.com/facebookresearch/GuidedDistillation) and of S4M '
    '(github.com/cvlab-kaist/S4M); without them, draw a split with --seed.'
)


def read_list(path: str | os.PathLike, names: list[str]) -> set[str]:
    """Read the names of the labelled images from a published list.

    Args:
        path: One ``*_gtFine_instanceIds.png`` base name per line.
        names (list[str]): Names of all training images, see :func:`stem_of`.

    Raises:
        FileNotFoundError: if there is no list; the message says where the
            lists are published.
        ValueError: if a line does not name a training image, or the list is
            empty.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist. {PUBLISHED}')
    lines = [line.strip() for line in path.read_text().splitlines()]
    stems = [Path(line).name.removesuffix(SUFFIX) for line in lines if line]
    if not stems:
        raise ValueError(f'{path} names no image')
    known = set(names)
    for number, stem in enumerate(stems, 1):
        if stem not in known:
            raise ValueError(
                f'{path}, entry {number}: no training image {stem}'
            )
    return set(stems)


def stem_of(image: dict) -> str:
    """Return the city, sequence and frame of a COCO image entry.

    Example:
        >>> stem_of(dict(file_name='ulm/ulm_000001_000019_leftImg8bit.png'))
        'ulm_000001_000019'
    """
    return Path(image['file_name']).name.removesuffix('_leftImg8bit.png')


def make_split(
    root: str | os.PathLike,
    *,
    percent: float,
    published: str | os.PathLike | None = None,
    seed: int | None = None,
    unlabeled: str = 'all',
) -> None:
    """Write the labelled and the unlabelled part of the training set.

    The files are ``annotations/semi/{published,seed0}@{percent}.json`` with
    the labelled images and ``...-unlabeled.json`` with the unlabelled ones.

    Args:
        root: Data root, with the file of
            :func:`s4m.datasets.converters.cityscapes.convert`.
        percent (float): Percentage of labelled images, in (0, 100]. With
            ``published`` it only names the files.
        published (optional): Published list, see :func:`read_list`. Defaults
            to None.
        seed (int, optional): Seed of a draw; required without a list and
            refused with one. Defaults to None.
        unlabeled (str): ``all`` or ``rest``, whether the unlabelled images
            include the labelled ones or not. Defaults to ``all``.

    Raises:
        FileNotFoundError: if the COCO file or the list does not exist.
        ValueError: if an argument or the list is invalid.
    """
    if (published is None) == (seed is None):
        raise ValueError('Give either a published list or a seed.')
    if unlabeled not in ('all', 'rest'):
        raise ValueError(f"unlabeled is 'all' or 'rest', not {unlabeled!r}.")
    if not 0 < percent <= 100:
        raise ValueError(f'A percentage of {percent:g} is not in (0, 100].')
    full = annotation_file(root, 'train')
    if not full.is_file():
        raise FileNotFoundError(
            f'{full} does not exist: run tools/dataset_converters/'
            f'cityscapes.py {root} first'
        )
    data = read_coco(full)
    names = [stem_of(image) for image in data['images']]
    if published is not None:
        name, chosen = 'published', read_list(published, names)
    else:
        assert seed is not None  # checked above
        name, chosen = f'seed{seed}', draw(names, percent, seed)
    splitter = Splitter(data)
    ids = {i['id'] for i in data['images'] if stem_of(i) in chosen}
    without = ids if unlabeled == 'rest' else frozenset()
    stem = full.parent / 'semi' / f'{name}@{percent:g}'
    for path, part in (
        (f'{stem}.json', splitter.labeled(ids)),
        (f'{stem}-unlabeled.json', splitter.unlabeled(without)),
    ):
        write_coco(path, **part)
        print(f'{path}: {len(part["images"])} images')
