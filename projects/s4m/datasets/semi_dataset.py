# SPDX-License-Identifier: Apache-2.0
"""Labelled and unlabelled images as one data set."""

from __future__ import annotations

from collections import Counter

from mmdet.datasets.dataset_wrappers import ConcatDataset
from mmdet.registry import DATASETS
from mmengine.dist import master_only
from mmengine.fileio import load
from mmengine.logging import print_log

from s4m.utils.random_states import seeded


class DrawIndex(int):
    """Dataset index that carries the seed of its draw.

    Any worker process augments the sample in the same way.

    Attributes:
        seed (tuple[int, int, int]): (seed, rank, draw number).
    """

    seed: tuple[int, int, int]

    def __new__(cls, index: int, seed: tuple[int, int, int]) -> DrawIndex:
        """Make an int with a seed."""
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self):
        """Worker processes get the seed too."""
        return DrawIndex, (int(self), self.seed)


@DATASETS.register_module()
class SemiDataset(ConcatDataset):
    """The labelled images, then the unlabelled ones.

    An index from ``SemiSampler`` seeds the augmentation of its image by
    (seed, rank, draw number), whatever process loads it.

    Args:
        labeled (dict): Config of the labelled data set.
        unlabeled (dict): Config of the unlabelled one.
        **kwargs: Arguments of ``ConcatDataset``.

    Raises:
        ValueError: if one of them has no image, their classes differ, or an
            annotation file is one of :func:`check_annotations`.
    """

    def __init__(self, labeled: dict, unlabeled: dict, **kwargs) -> None:
        datasets = [
            _build(labeled, 'labelled', ' with an instance of the classes'),
            _build(unlabeled, 'unlabelled', ''),
        ]
        check_same_classes(labelled=datasets[0], unlabelled=datasets[1])
        super().__init__(datasets, **kwargs)
        _log_overlap(*datasets)

    def __getitem__(self, idx: int):
        """The sample of one draw."""
        if isinstance(idx, DrawIndex):
            with seeded(idx.seed):
                return super().__getitem__(int(idx))
        return super().__getitem__(idx)


def _build(cfg: dict, name: str, of_what: str):
    try:
        dataset = DATASETS.build(cfg)
    except ValueError as e:
        # How MMEngine reports a data set that is empty after filtering.
        if 'at least one array to concatenate' not in str(e):
            raise
        raise ValueError(
            f'The {name} set {cfg["ann_file"]} has no image{of_what}.'
        ) from e
    # Pseudo-labels from a file are read as labels are.
    steps = {step['type'] for step in cfg['pipeline']}
    with_masks = bool(steps & {'LoadAnnotations', 'LoadLazyAnnotations'})
    check_annotations(dataset, with_masks=with_masks)
    return dataset


def check_annotations(dataset, with_masks: bool) -> None:
    """Refuse an annotation file that MMDet would misread silently.

    MMDet counts labels in the order of the file, not of the config's classes;
    of two images with one id pycocotools keeps the last; and an instance
    without a mask fails in a worker, hours later.

    Args:
        dataset: Of MMDet; one that is no ``CocoDataset`` passes.
        with_masks (bool): Whether its instances need masks.

    Raises:
        ValueError: that names the file and what is wrong with it.
    """
    wanted = dataset.metainfo.get('classes')
    if not hasattr(dataset, 'cat_ids') or wanted is None:
        return
    file = dataset.ann_file
    data = load(file)
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
    for annotation in data.get('annotations', []) if with_masks else []:
        # What MMDet leaves out itself may lack one.
        used = not annotation.get('ignore') and annotation.get('area', 1) > 0
        used = used and annotation['category_id'] in kinds
        if used and not annotation.get('segmentation'):
            raise ValueError(
                f'{file}: annotation {annotation.get("id")} of image '
                f'{annotation["image_id"]} has no segmentation. Remove it, or '
                'draw its mask.'
            )


def check_coco(data: dict, file: str) -> None:
    """Refuse a COCO dictionary that contradicts itself.

    Args:
        data (dict): ``images``, ``categories`` and perhaps ``annotations``.
        file (str): Its name, for messages.

    Raises:
        ValueError: if image ids come twice, an annotation names an image or
            a category that is not there, or its RLE mask has another size
            than its image.
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


def check_same_classes(**datasets) -> None:
    """Refuse two sets of other classes.

    Args:
        **datasets: Two data sets by what they are called.

    Raises:
        ValueError: that names both lists of classes.
    """
    (a, first), (b, second) = (
        (name, d.metainfo.get('classes')) for name, d in datasets.items()
    )
    if first != second:
        raise ValueError(
            f'The {a} set has the classes {first}, the {b} set {second}.'
        )


@master_only  # the one process that logs
def _log_overlap(labeled, unlabeled) -> None:
    """Say how many labelled images are among the unlabelled ones."""
    paths = [
        {d.get_data_info(i)['img_path'] for i in range(len(d))}
        for d in (labeled, unlabeled)
    ]
    print_log(
        f'{len(labeled)} labelled and {len(unlabeled)} unlabelled images, '
        f'{len(paths[0] & paths[1])} of them in both sets',
        logger='current',
    )
