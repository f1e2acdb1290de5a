# SPDX-License-Identifier: Apache-2.0
"""Labelled and unlabelled images as one data set."""

from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import torch
from mmdet.datasets.dataset_wrappers import ConcatDataset
from mmdet.registry import DATASETS
from mmengine.fileio import load


class DrawIndex(int):
    """An index that knows which draw of a sampler it is.

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


@contextmanager
def seeded(seed: tuple[int, ...]):
    """Seed python, numpy and torch inside, and undo it after.

    The model's random numbers do not depend on what the data draws, and the
    data's not on the number of workers.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(seed).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.manual_seed(int(words[2]))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@DATASETS.register_module()
class SemiDataset(ConcatDataset):
    """The labelled images, then the unlabelled ones.

    An index from ``SemiSampler`` seeds the augmentation of its image by
    (seed, rank, draw number), whatever process loads it.

    Args:
        labeled (dict): Config of the labelled data set.
        unlabeled (dict): Config of the unlabelled one.
        **kwargs: Those of ``ConcatDataset``.

    Raises:
        ValueError: if one of them has no image, or a category of the config
            is missing in its annotation file.
    """

    def __init__(self, labeled: dict, unlabeled: dict, **kwargs) -> None:
        datasets = [
            _build(labeled, 'labelled', ' with an instance of the classes'),
            _build(unlabeled, 'unlabelled', ''),
        ]
        super().__init__(datasets, **kwargs)

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
    _check_categories(dataset, getattr(dataset, 'ann_file', name))
    return dataset


def _check_categories(dataset, ann_file: str) -> None:
    """MMDet shifts the labels when a category of the config is not there."""
    wanted = dataset.metainfo.get('classes')
    found = getattr(dataset, 'cat_ids', None)
    if found is None or wanted is None or len(found) == len(wanted):
        return
    names = [c['name'] for c in load(ann_file)['categories']]
    missing = [name for name in wanted if name not in names]
    raise ValueError(
        f'{ann_file} does not have the configured categories {missing}; it '
        f'has {names}.'
    )
