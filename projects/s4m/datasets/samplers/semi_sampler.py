# SPDX-License-Identifier: Apache-2.0
"""Draw from labelled and unlabelled images."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info, sync_random_seed
from torch import Tensor
from torch.utils.data import Sampler

from ..semi_dataset import DrawIndex, SemiDataset


def repeat_factors(dataset, threshold: float) -> Tensor:
    """Compute the repeat factor of each image by its rarest class.

    ``r(c) = max(1, sqrt(threshold / f(c)))``, where f(c) is the share of
    images that show class c; an image's factor is the maximum over its
    classes (`LVIS <https://arxiv.org/abs/1908.03195>`_). No image is read.

    Args:
        dataset (BaseDetDataset): Data set of N images.
        threshold (float): Share of images below which a class is rare.

    Returns:
        Tensor: (N, ) fp64 factors, at least 1.
    """
    classes = [
        {
            item['bbox_label']
            for item in dataset.get_data_info(i)['instances']
            if not item['ignore_flag']
        }
        for i in range(len(dataset))
    ]
    counts = Counter(itertools.chain.from_iterable(classes))
    factor = {
        c: max(1.0, math.sqrt(threshold * len(dataset) / n))
        for c, n in counts.items()
    }
    return torch.tensor(
        [max((factor[c] for c in image), default=1.0) for image in classes],
        dtype=torch.float64,
    )


@DATA_SAMPLERS.register_module()
class SemiSampler(Sampler):
    """Draws endless flat indices of labelled and unlabelled images.

    Use it as ``sampler`` of a loader whose ``batch_size`` is
    ``num_labeled + num_unlabeled``: every batch is one block of this many
    labelled and unlabelled images. Labelled images are drawn by
    repeat-factor sampling with stochastic rounding, unlabelled images
    uniformly, both without replacement within a round.

    Without the two numbers both sets are one: each image is drawn once in a
    round, in random order, and a batch has a random number of labelled
    images, which may be 0.

    All ranks share one stream and take turns, so that a run is reproducible
    for its number of processes.

    Args:
        dataset (SemiDataset): Labelled, then unlabelled images.
        num_labeled (int, optional): Labelled images per batch and process.
            Defaults to None, which draws from both sets as one.
        num_unlabeled (int, optional): Unlabelled images per batch and
            process; required with ``num_labeled``. Defaults to None.
        repeat_thr (float): Threshold of :func:`repeat_factors`. 0 draws
            labelled images uniformly. It has no effect if both sets are one.
            Defaults to 10.
        seed (int, optional): Seed of the stream. Defaults to None, a random
            seed that all processes share.

    Raises:
        ValueError: if an argument is out of range, or one number is given
            without the other.

    Example:
        >>> sampler = dict(type='SemiSampler', num_labeled=4, num_unlabeled=4)
        >>> loader = dict(batch_size=8, sampler=sampler)
    """

    def __init__(
        self,
        dataset: SemiDataset,
        num_labeled: int | None = None,
        num_unlabeled: int | None = None,
        repeat_thr: float = 10.0,
        seed: int | None = None,
    ) -> None:
        if (num_labeled is None) != (num_unlabeled is None):
            raise ValueError(
                'num_labeled and num_unlabeled go together, got '
                f'{num_labeled} and {num_unlabeled}: give both, or none to '
                'draw from both sets as one'
            )
        numbers = [n for n in (num_labeled, num_unlabeled) if n is not None]
        if numbers and min(numbers) < 1:
            raise ValueError(
                'num_labeled and num_unlabeled must be >= 1, got '
                f'{num_labeled} and {num_unlabeled}'
            )
        if repeat_thr < 0:
            raise ValueError(f'repeat_thr must be >= 0, got {repeat_thr}')
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.num_labeled = num_labeled
        self.num_unlabeled = num_unlabeled
        self.dataset = dataset
        self.sizes = [len(d) for d in dataset.datasets]
        if num_labeled is not None and repeat_thr > 0:
            self.repeats = repeat_factors(dataset.datasets[0], repeat_thr)
        else:
            self.repeats = torch.ones(self.sizes[0], dtype=torch.float64)
        self._skipped = 0

    def _rounds(self, repeats: Tensor, stream: int) -> Iterator[int]:
        """Yield shuffled rounds, each image ``repeats`` times on average."""
        generator = torch.Generator()
        generator.manual_seed(self.seed + stream)
        whole = repeats.floor()
        while True:
            rounds = whole + (
                torch.rand(len(repeats), generator=generator).double()
                < repeats - whole
            )
            indices = torch.repeat_interleave(rounds.long())
            order = torch.randperm(len(indices), generator=generator)
            yield from indices[order].tolist()

    def _indices(self) -> Iterator[int]:
        """Yield the flat indices of this rank, block by block."""
        if self.num_labeled is None:
            both = torch.ones(sum(self.sizes), dtype=torch.float64)
            stream = self._rounds(both, stream=0)
            yield from itertools.islice(
                stream, self.rank, None, self.world_size
            )
        labeled = self._rounds(self.repeats, stream=0)
        unlabeled = self._rounds(
            torch.ones(self.sizes[1], dtype=torch.float64), stream=1
        )
        labeled = itertools.islice(labeled, self.rank, None, self.world_size)
        unlabeled = itertools.islice(
            unlabeled, self.rank, None, self.world_size
        )
        while True:
            yield from itertools.islice(labeled, self.num_labeled)
            for index in itertools.islice(unlabeled, self.num_unlabeled):
                yield self.sizes[0] + index

    def __iter__(self) -> Iterator[DrawIndex]:
        """Yield indices that carry the seed of their draw."""
        stream = itertools.islice(self._indices(), self._skipped, None)
        for draw, index in enumerate(stream, self._skipped):
            yield DrawIndex(index, (self.seed, self.rank, draw))

    def skip(self, num_samples: int) -> None:
        """Start at an absolute position of the stream, when resuming.

        Only indices are drawn; no image is read.

        Args:
            num_samples (int): Number of indices that this rank has used.

        Raises:
            ValueError: if the number is negative.
        """
        if num_samples < 0:
            raise ValueError(f'num_samples must be >= 0, got {num_samples}')
        self._skipped = num_samples

    def set_epoch(self, epoch: int) -> None:
        """Do nothing, since the stream is endless."""

    def __len__(self) -> int:
        """Return the number of labelled and unlabelled images."""
        return sum(self.sizes)
