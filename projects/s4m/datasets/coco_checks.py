# SPDX-License-Identifier: Apache-2.0
"""Check annotation files, with errors that name the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dataset import BaseDataset

from .coco_io import read_coco


@contextmanager
def empty_sets_named(name: str = 'data') -> Iterator[None]:
    """Name the data set that turns out to be empty in this block.

    A data set whose file has no image, or whose images were all filtered
    because they have no instance, ends in numpy's "need at least one array to
    concatenate" while a runner builds its loaders, before any hook runs. The
    block may build data sets of every type, also in wrappers.

    Args:
        name (str): Name of the set in the message. Defaults to ``data``.

    Raises:
        ValueError: if a data set is empty; the message names its file.

    Example::

        with empty_sets_named():
            runner.train()
    """
    try:
        yield
    except ValueError as e:
        dataset = _dataset_of(e)
        if dataset is None or 'at least one array' not in str(e):
            raise
        what = 'no image'
        filters = (dataset.filter_cfg or {}).get('filter_empty_gt')
        if filters and not dataset.test_mode:
            classes = ', '.join(dataset.metainfo.get('classes', ()))
            what = f'no image with an instance of the classes {classes}'
        raise ValueError(
            f'The {name} set {dataset.ann_file} has {what}. Is it the right '
            'file, and do its categories have the names of the config?'
        ) from e


def _dataset_of(error: Exception) -> BaseDataset | None:
    """Return the data set in whose method an error was raised."""
    dataset, traceback = None, error.__traceback__
    while traceback is not None:
        owner = traceback.tb_frame.f_locals.get('self')
        if isinstance(owner, BaseDataset):
            dataset = owner
        traceback = traceback.tb_next
    return dataset


def check_annotations(
    dataset: BaseDataset, with_masks: bool, needs_instance: bool = False
) -> None:
    """Refuse an annotation file that MMDet would misread silently.

    MMDet numbers labels in the order of the file, not of the config's
    classes; pycocotools ignores the first of two images with one id; and an
    instance without a mask fails in a worker, hours later.

    Args:
        dataset (BaseDataset): Data set to check. Other types than
            ``CocoDataset`` are not checked.
        with_masks (bool): Whether the instances need masks.
        needs_instance (bool): Whether a file without any instance of the
            configured classes is refused. Defaults to False.

    Raises:
        ValueError: if the file would be misread; the message names the file
            and the problem.
    """
    wanted = dataset.metainfo.get('classes')
    if not hasattr(dataset, 'cat_ids') or wanted is None:
        return
    file = dataset.ann_file
    data = read_coco(file)
    names = [c['name'] for c in data['categories']]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(
            f'{file} does not have the configured categories {missing}; it '
            f'has {names}.'
        )
    order = [name for name in names if name in wanted]
    if order != list(wanted):
        raise ValueError(
            f'{file} has its categories in the order {order}, the config in '
            f'the order {list(wanted)}: labels would be exchanged. Use the '
            "file's order in metainfo.classes."
        )
    check_coco(data, file)
    kinds = {c['id'] for c in data['categories'] if c['name'] in wanted}
    # Annotations that MMDet filters anyway need no segmentation.
    used = [
        annotation
        for annotation in data.get('annotations', [])
        if not annotation.get('ignore')
        and annotation.get('area', 1) > 0
        and annotation['category_id'] in kinds
    ]
    if needs_instance and not used:
        raise ValueError(
            f'{file} has no instance of the classes {", ".join(wanted)}.'
        )
    for annotation in used if with_masks else []:
        if not annotation.get('segmentation'):
            raise ValueError(
                f'{file}: annotation {annotation.get("id")} of image '
                f'{annotation["image_id"]} has no segmentation. Remove it, or '
                'draw its mask.'
            )


def check_coco(data: dict, file: str) -> None:
    """Refuse a COCO dictionary that contradicts itself.

    Args:
        data (dict): ``images``, ``categories`` and perhaps ``annotations``.
        file (str): Name of the file, for messages.

    Raises:
        ValueError: if two images have one id, an annotation names an unknown
            image or category, or an RLE mask has another size than its image.

    Example:
        >>> images = [dict(id=1), dict(id=1)]
        >>> check_coco(dict(images=images, categories=[]), 'a.json')
        Traceback (most recent call last):
        ValueError: a.json has 1 image ids more than once, such as 1.
    """
    sizes = {
        i['id']: (i.get('height'), i.get('width')) for i in data['images']
    }
    if len(sizes) < len(data['images']):
        ids = Counter(image['id'] for image in data['images'])
        twice = [i for i, count in ids.items() if count > 1]
        raise ValueError(
            f'{file} has {len(twice)} image ids more than once, such as '
            f'{twice[0]}.'
        )
    kinds = {c['id'] for c in data['categories']}
    for annotation in data.get('annotations', []):
        which = f'{file}: annotation {annotation.get("id")}'
        image = annotation['image_id']
        if image not in sizes:
            raise ValueError(f'{which} is of image {image}, which is unknown.')
        if annotation['category_id'] not in kinds:
            raise ValueError(
                f'{which} is of category {annotation["category_id"]}, which '
                'is unknown.'
            )
        mask = annotation.get('segmentation')
        if not isinstance(mask, dict) or None in sizes[image]:
            continue
        if tuple(mask['size']) != sizes[image]:
            raise ValueError(
                f'{which} has a mask of {mask["size"][0]} x '
                f'{mask["size"][1]} pixels, its image {image} is '
                f'{sizes[image][0]} x {sizes[image][1]}.'
            )


def check_same_classes(**datasets: BaseDataset) -> None:
    """Refuse two data sets with different classes.

    Args:
        **datasets: Two data sets by their names in the message.

    Raises:
        ValueError: if their classes differ; the message has both lists.
    """
    (a, first), (b, second) = (
        (name, list(d.metainfo.get('classes') or ()))
        for name, d in datasets.items()
    )
    if first != second:
        raise ValueError(
            f'The {a} set has the classes {first}, the {b} set {second}.'
        )
