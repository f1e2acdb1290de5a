# SPDX-License-Identifier: Apache-2.0
"""Split a data set in COCO's format into labelled and unlabelled parts."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
from rich.progress import track

from ..coco_io import read_coco, write_coco

#: Annotation file of COCO's labelled images, below the data root.
TRAIN = 'annotations/instances_train2017.json'
#: Kinds of numbers in a list of draws, see :func:`read_list`.
LIST_KINDS = ('annotated', 'indices', 'ids')


def load_coco(
    path: str | os.PathLike, classes: Sequence[str] | None = None
) -> dict:
    """Read a COCO file and check the properties that a split needs.

    Args:
        path: The file.
        classes (Sequence[str], optional): Names of the categories to keep.
            Defaults to all.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not a COCO file with images, two images have the
            same id, or a class is unknown.
    """
    data = read_coco(path)
    _check_images(data, path)
    if classes is not None:
        names = [c['name'] for c in data['categories']]
        unknown = [n for n in classes if n not in names]
        if unknown:
            raise ValueError(f'{path} has no category {unknown}, but {names}.')
        keep = [c for c in data['categories'] if c['name'] in set(classes)]
        keep_ids = {c['id'] for c in keep}
        data['categories'] = keep
        data['annotations'] = [
            a
            for a in data.get('annotations', [])
            if a['category_id'] in keep_ids
        ]
    return data


def _check_images(data: dict, path: str | os.PathLike) -> None:
    if not data['images']:
        raise ValueError(f'{path} has no image.')
    ids = Counter(image['id'] for image in data['images'])
    ((most, count),) = ids.most_common(1)
    if count > 1:
        raise ValueError(f'{path} has {count} images with the id {most}.')


def draw(ids: Sequence, percent: float, seed: int) -> set:
    """Draw ids without replacement, at least one.

    Args:
        ids (Sequence): Ids or names; their order does not matter.
        percent (float): Percentage of the ids, in (0, 100].
        seed (int): The same seed gives the same draw.

    Raises:
        ValueError: if ``percent`` is out of range.

    Example:
        >>> len(draw(range(200), 5, seed=0))
        10
    """
    if not 0 < percent <= 100:
        raise ValueError(f'A percentage of {percent:g} is not in (0, 100].')
    # The product may be 1182.9999 where 1183 is exact.
    num = max(1, int(len(ids) * percent / 100 + 1e-9))
    order = np.random.default_rng(seed).permutation(len(ids))
    ids = sorted(ids)
    return {ids[i] for i in order[:num]}


def read_list(
    path: str | os.PathLike, data: dict, percent: float, fold: int, kind: str
) -> set[int]:
    """Read the image ids of one draw from an index file.

    Args:
        path: JSON file ``{percent: {fold: [number, ...]}}``, as
            ``COCO_supervision.txt`` of Unbiased Teacher
            (github.com/facebookresearch/unbiased-teacher), or one list of
            numbers.
        data (dict): COCO dictionary of all images.
        percent (float): Percentage of the draw.
        fold (int): Fold of the draw.
        kind (str): Kind of the numbers: ``ids`` of images, ``indices`` into
            the images sorted by id, or ``annotated``, indices into the images
            with an annotation other than a crowd (Detectron2's list with
            ``FILTER_EMPTY_ANNOTATIONS``, as Unbiased Teacher counts).

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it lacks the draw, or a number is out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist.')
    try:
        draws = json.loads(path.read_text())
    except ValueError as e:
        raise ValueError(f'{path} is not a JSON file: {e}.') from e
    if isinstance(draws, dict):
        folds = next(
            (v for k, v in draws.items() if float(k) == percent), None
        )
        if folds is None:
            raise ValueError(f'{path} has no {percent:g} %, but {list(draws)}')
        draws = folds.get(str(fold))
        if draws is None:
            raise ValueError(
                f'{path} has no fold {fold} of {percent:g} %, but '
                f'{list(folds)}'
            )
    if not draws:
        raise ValueError(f'{path} names no image')
    known = sorted(image['id'] for image in data['images'])
    if kind == 'ids':
        absent = set(draws) - set(known)
        if absent:
            raise ValueError(f'{path}: no image has the id {min(absent)}')
        return set(draws)
    if kind == 'annotated':
        annotated = {
            a['image_id']
            for a in data.get('annotations', [])
            if not a.get('iscrowd')
        }
        known = [i for i in known if i in annotated]
    bad = [i for i in draws if not 0 <= i < len(known)]
    if bad:
        raise ValueError(
            f'{path}: index {bad[0]} is not in 0..{len(known) - 1}; what do '
            'its numbers count (--list-kind)?'
        )
    return {known[i] for i in draws}


class Splitter:
    """Cuts one COCO dictionary into labelled and unlabelled parts.

    Args:
        data (dict): COCO dictionary of all images.

    Example:
        >>> images = [dict(id=1), dict(id=2)]
        >>> annotations = [dict(id=7, image_id=2)]
        >>> splitter = Splitter(dict(images=images, annotations=annotations))
        >>> splitter.labeled({2})
        {'images': [{'id': 2}], 'annotations': [{'id': 7, 'image_id': 2}]}
        >>> splitter.unlabeled({2})
        {'images': [{'id': 1}], 'annotations': []}
    """

    def __init__(self, data: dict) -> None:
        self.data = data
        self.annotations: dict[int, list[dict]] = defaultdict(list)
        for annotation in data.get('annotations', []):
            self.annotations[annotation['image_id']].append(annotation)
        self.header = {
            k: v for k, v in data.items() if k not in ('images', 'annotations')
        }

    def labeled(self, ids: Set) -> dict:
        """Return the images of some ids with their annotations.

        Images are in the order of the file.
        """
        images = [i for i in self.data['images'] if i['id'] in ids]
        entries = [a for i in images for a in self.annotations[i['id']]]
        return dict(self.header, images=images, annotations=entries)

    def unlabeled(self, without: Set = frozenset()) -> dict:
        """Return all images but some, without annotations."""
        images = [i for i in self.data['images'] if i['id'] not in without]
        return dict(self.header, images=images, annotations=[])


def make_splits(
    root: str | os.PathLike,
    *,
    percent: Sequence[float],
    fold: Sequence[int] = (1,),
    ann: str = TRAIN,
    out: str = 'semi_anns',
    index_list: str | os.PathLike | None = None,
    list_kind: str = 'annotated',
    classes: Sequence[str] | None = None,
    extra: str | None = None,
) -> None:
    """Write the labelled and unlabelled parts under MMDetection's names.

    The files are ``{stem}.{fold}@{percent}.json`` with the labelled images,
    ``...-unlabeled.json`` with the others, and ``{stem}.all-unlabeled.json``
    with all images.

    Args:
        root: Data root.
        percent (Sequence[float]): Percentages of labelled images.
        fold (Sequence[int]): Seeds of the draws, or folds of ``index_list``.
            Defaults to fold 1.
        ann (str): COCO file of all labelled images, below the root.
            Defaults to COCO's train2017.
        out (str): Folder of the files, below the root. Defaults to
            ``semi_anns``.
        index_list (optional): File of published draws, see
            :func:`read_list`. Defaults to None, which draws with the seeds.
        list_kind (str): ``annotated``, ``indices`` or ``ids``, see
            :func:`read_list`. Defaults to ``annotated``.
        classes (Sequence[str], optional): Categories to keep. Defaults to
            all.
        extra (str, optional): COCO file of further unlabelled images, below
            the root, which gets the categories of the labelled images.
            Defaults to None.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file or a percentage is invalid, or a draw has no
            annotation.
    """
    root = Path(root)
    data = load_coco(root / ann, classes)
    splitter = Splitter(data)
    ids = [image['id'] for image in data['images']]
    folder, stem = root / out, Path(ann).stem
    jobs = [(p, f) for p in percent for f in fold]
    # All draws precede the writing, so that a bad list writes nothing.
    draws = [
        draw(ids, p, f)
        if index_list is None
        else read_list(index_list, data, p, f, list_kind)
        for p, f in jobs
    ]
    if extra is not None:
        # COCO's file of unlabelled images has no categories.
        others = read_coco(root / extra, needs=('images',))
        _check_images(others, root / extra)
        write_coco(
            folder / Path(extra).name,
            images=others['images'],
            annotations=[],
            categories=data['categories'],
        )
    write_coco(folder / f'{stem}.all-unlabeled.json', **splitter.unlabeled())
    for (p, f), chosen in track(list(zip(jobs, draws, strict=True)), 'splits'):
        name = f'{stem}.{f}@{p:g}'
        labeled = splitter.labeled(chosen)
        if not labeled['annotations']:
            raise ValueError(
                f'No annotation in the {len(chosen)} images of {name}: take '
                'another fold or percentage'
            )
        write_coco(folder / f'{name}.json', **labeled)
        if len(chosen) < len(ids):
            rest = splitter.unlabeled(chosen)
            write_coco(folder / f'{name}-unlabeled.json', **rest)
        print(
            f'{folder / name}.json: {len(chosen)} images, '
            f'{len(labeled["annotations"])} annotations; '
            f'{len(ids) - len(chosen)} images unlabelled'
        )
