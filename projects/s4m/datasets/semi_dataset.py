# SPDX-License-Identifier: Apache-2.0
"""Combine labelled and unlabelled images in one data set."""

from __future__ import annotations

from mmdet.datasets.dataset_wrappers import ConcatDataset
from mmdet.registry import DATASETS
from mmengine.dist import master_only
from mmengine.logging import print_log

from s4m.utils.random_states import seeded

from .coco_checks import (
    check_annotations,
    check_same_classes,
    empty_sets_named,
)


class DrawIndex(int):
    """Dataset index that carries the seed of its draw.

    The seed makes every worker process augment the sample in the same way.

    Attributes:
        seed (tuple[int, int, int]): (seed, rank, draw number).

    Example:
        >>> index = DrawIndex(7, (0, 1, 2))
        >>> int(index), index.seed
        (7, (0, 1, 2))
    """

    seed: tuple[int, int, int]

    def __new__(cls, index: int, seed: tuple[int, int, int]) -> DrawIndex:
        """Make an int with a seed."""
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self):
        """Pickle the seed, which worker processes need."""
        return DrawIndex, (int(self), self.seed)


@DATASETS.register_module()
class SemiDataset(ConcatDataset):
    """Concatenates the labelled and the unlabelled images.

    An index from ``SemiSampler`` seeds the augmentation of its image by
    (seed, rank, draw number), whichever process loads it.

    Args:
        labeled (dict): Config of the labelled data set.
        unlabeled (dict): Config of the unlabelled data set.
        **kwargs: Arguments of ``ConcatDataset``.

    Raises:
        ValueError: if a data set has no image, their classes differ, a file
            of labels or of pseudo-labels has no instance, or
            :func:`check_annotations` refuses an annotation file.

    Example:
        >>> images = dict(type='CocoDataset', ann_file='a.json', pipeline=[])
        >>> both = dict(type='SemiDataset', labeled=images, unlabeled=images)
    """

    def __init__(self, labeled: dict, unlabeled: dict, **kwargs) -> None:
        datasets = [
            _build(labeled, 'labelled'),
            _build(unlabeled, 'unlabelled'),
        ]
        check_same_classes(labelled=datasets[0], unlabelled=datasets[1])
        # MMDet would tell a tuple of classes from a list.
        kwargs.setdefault('ignore_keys', ['classes'])
        super().__init__(datasets, **kwargs)
        _log_overlap(*datasets)

    def __getitem__(self, idx: int):
        """Load the sample of one draw."""
        if isinstance(idx, DrawIndex):
            with seeded(idx.seed):
                return super().__getitem__(int(idx))
        return super().__getitem__(idx)


def _build(cfg: dict, name: str):
    with empty_sets_named(name):
        dataset = DATASETS.build(cfg)
    # Pseudo-labels from a file are read in the same way as labels.
    steps = {step['type'] for step in cfg['pipeline']}
    with_masks = bool(steps & {'LoadAnnotations', 'LoadLazyAnnotations'})
    check_annotations(
        dataset,
        with_masks=with_masks,
        needs_instance=with_masks or name == 'labelled',
    )
    return dataset


@master_only  # only this process logs
def _log_overlap(labeled, unlabeled) -> None:
    """Log how many images are both labelled and unlabelled."""
    paths = [
        {d.get_data_info(i)['img_path'] for i in range(len(d))}
        for d in (labeled, unlabeled)
    ]
    print_log(
        f'{len(labeled)} labelled and {len(unlabeled)} unlabelled images, '
        f'{len(paths[0] & paths[1])} of them in both sets',
        logger='current',
    )
