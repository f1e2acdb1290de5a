# SPDX-License-Identifier: Apache-2.0
"""What a data set and a machine are like, as numbers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from s4m.apis.precision import default_precision


@dataclass(frozen=True)
class DataFacts:
    """Numbers of a data set from which settings are decided.

    Sizes are in pixels. Images of both sets count for their sizes, labelled
    ones alone for objects.

    Attributes:
        classes (tuple[str, ...]): Names in the order of the labels.
        labeled (int): Number of labelled images that are trained on.
        unlabeled (int): Number of unlabelled images.
        validation (int): Number of validation images.
        short (float): Median of the shorter side of the images.
        long (float): Median of the longer side of the images.
        longest (float): Longest side of all images.
        uniform (bool): Whether at least nine of ten images have a longer and
            a shorter side within a fifth of the median.
        objects (int): Number of objects.
        most (int): Largest number of objects of an image.
        object_side (float): Median over the objects of the square root of
            the area.
        object_share (float): Median over the objects of this root over the
            longer side of their image.
        small_area (float): Tenth percentile of the objects' areas.
        rarest (float): Share of labelled images that show the class which
            the fewest show.
    """

    classes: tuple[str, ...]
    labeled: int
    unlabeled: int
    validation: int
    short: float
    long: float
    longest: float
    uniform: bool
    objects: int
    most: int
    object_side: float
    object_share: float
    small_area: float
    rarest: float


def data_facts(
    labeled: Mapping[str, Any],
    unlabeled: Mapping[str, Any] | None = None,
    validation: Mapping[str, Any] | None = None,
) -> DataFacts:
    """Compute the facts of a data set from COCO dictionaries.

    Args:
        labeled (Mapping): Labelled images that are trained on, with
            ``height`` and ``width``, and annotations with ``area``.
        unlabeled (Mapping, optional): Unlabelled images. Defaults to None.
        validation (Mapping, optional): Validation images. Defaults to None.

    Raises:
        ValueError: if there is no labelled image or no object.

    Example:
        >>> images = [dict(id=1, height=60, width=80)]
        >>> objects = [dict(image_id=1, category_id=7, area=100)]
        >>> categories = [dict(id=7, name='apple')]
        >>> facts = data_facts(dict(
        ...     images=images, annotations=objects, categories=categories
        ... ))
        >>> facts.classes, facts.object_side, facts.object_share
        (('apple',), 10.0, 0.125)
    """
    images = {image['id']: image for image in labeled['images']}
    objects = [a for a in labeled['annotations'] if not a.get('iscrowd', 0)]
    if not images or not objects:
        raise ValueError(
            f'There are {len(images)} labelled images with {len(objects)} '
            'objects; a training needs at least one of each.'
        )
    every = [*images.values(), *(unlabeled or {}).get('images', [])]
    sides = np.array([sorted((i['height'], i['width'])) for i in every])
    short, long = np.median(sides, axis=0)
    near = (abs(sides / (short, long) - 1) <= 0.2).all(1)
    counts = Counter(a['image_id'] for a in objects)
    numbers = [counts.get(i, 0) for i in images]
    areas = np.array([max(float(a['area']), 1.0) for a in objects])
    longest = np.array(
        [
            max(images[a['image_id']][k] for k in ('height', 'width'))
            for a in objects
        ]
    )
    shows: Counter = Counter()
    for kind, _ in {(a['category_id'], a['image_id']) for a in objects}:
        shows[kind] += 1
    kinds = {c['id']: c['name'] for c in labeled['categories']}
    return DataFacts(
        classes=tuple(kinds.values()),
        labeled=len(images),
        unlabeled=len((unlabeled or {}).get('images', [])),
        validation=len((validation or {}).get('images', [])),
        short=float(short),
        long=float(long),
        longest=float(sides.max()),
        uniform=bool(near.mean() >= 0.9),
        objects=len(objects),
        most=max(numbers),
        object_side=float(np.median(np.sqrt(areas))),
        object_share=float(np.median(np.sqrt(areas) / longest)),
        small_area=float(np.percentile(areas, 10)),
        rarest=min(shows[kind] for kind in kinds) / len(images),
    )


def objects_by_class(data: Mapping[str, Any]) -> dict[str, int]:
    """Count the objects of each class of a COCO dictionary.

    Returns:
        dict[str, int]: numbers by class name, crowds left out.
    """
    counts = Counter(
        a['category_id']
        for a in data.get('annotations', ())
        if not a.get('iscrowd', 0)
    )
    return {c['name']: counts[c['id']] for c in data['categories']}


@dataclass(frozen=True)
class Machine:
    """What a training can use on this machine.

    Attributes:
        gpu (str): Name of the GPU, or an empty string.
        gpu_gib (float): Memory of the GPU in GiB; 0 without one.
        gpus (int): Number of GPUs.
        cores (int): Number of CPU cores that this process may use.
        precision (str): Precision of a training, ``bf16``, ``fp16`` or
            ``off``.
    """

    gpu: str = ''
    gpu_gib: float = 0.0
    gpus: int = 0
    cores: int = 1
    precision: str = 'off'


def this_machine() -> Machine:
    """Describe the machine of this process."""
    cores = len(os.sched_getaffinity(0))
    if not torch.cuda.is_available():
        return Machine(cores=cores)
    properties = torch.cuda.get_device_properties(0)
    return Machine(
        gpu=properties.name,
        gpu_gib=properties.total_memory / 2**30,
        gpus=torch.cuda.device_count(),
        cores=cores,
        precision=default_precision(),
    )


def select_images(
    data: Mapping[str, Any], ids: Iterable[Any]
) -> dict[str, Any]:
    """Return the part of a COCO dictionary that belongs to some images.

    Args:
        data (Mapping): COCO dictionary.
        ids (Iterable): Ids of the images to keep.
    """
    kept = set(ids)
    return dict(
        images=[i for i in data['images'] if i['id'] in kept],
        annotations=[
            a for a in data.get('annotations', ()) if a['image_id'] in kept
        ],
        categories=data['categories'],
    )


def hold_out(data: Mapping[str, Any], seed: int) -> Sequence[Any]:
    """Choose the labelled images on which a training is validated.

    A fifth of the images, at least 3; of a hundred random choices the one is
    taken that leaves the most classes on both sides.

    Args:
        data (Mapping): COCO dictionary of the labelled images.
        seed (int): Seed of the choice.

    Returns:
        Sequence: ids of the chosen images; none if there are fewer than 6
        images, since fewer than 3 would be left on one side.
    """
    with_objects = sorted({a['image_id'] for a in data['annotations']})
    if len(with_objects) < 6:
        return []
    kinds: dict[Any, set] = {i: set() for i in with_objects}
    for a in data['annotations']:
        kinds[a['image_id']].add(a['category_id'])
    number = max(3, round(len(with_objects) / 5))
    generator = np.random.default_rng(seed)
    best: tuple[int, list] = (-1, [])
    for _ in range(100):
        order = [with_objects[i] for i in generator.permutation(len(kinds))]
        out, left = order[:number], order[number:]
        both = set.union(*(kinds[i] for i in out)) & set.union(
            *(kinds[i] for i in left)
        )
        if len(both) > best[0]:
            best = (len(both), sorted(out))
    return best[1]
