# SPDX-License-Identifier: Apache-2.0
"""How much the label of an image would teach, as terms in 0..1.

Three terms estimate how much of a prediction a person would correct. Each is
``x / (1 + x)`` of an expected number ``x`` of corrections, which grows with
the number of objects and stays below 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from s4m.structures.masks import pairwise_iou


def saturate(expected: Tensor) -> Tensor:
    """Map an expected number of corrections to 0..1: x / (1 + x).

    Args:
        expected (Tensor): Numbers from 0, of any shape.

    Example:
        >>> saturate(torch.tensor([0.0, 1.0, 3.0])).tolist()
        [0.0, 0.5, 0.75]
    """
    return expected / (1 + expected)


def uncertainty(scores: Tensor) -> Tensor:
    """Compute the uncertainty of an image: x = sum of s (1 - s).

    A prediction of score s is right with probability s, if the network is
    calibrated: x is the variance of the number of right ones. The sum over
    the objects of an image is what `Brust et al. (2019)
    <https://arxiv.org/abs/1809.09875>`_ found best for detection; per object,
    s (1 - s) orders like the margin of two classes.

    Args:
        scores (Tensor): (n, ) scores of the predictions.

    Returns:
        Tensor: x / (1 + x), without dimensions; 0 for n = 0.

    Example:
        >>> uncertainty(torch.tensor([0.5, 0.5, 1.0])).item()  # x = 0.5
        0.3333333432674408
    """
    return saturate((scores * (1 - scores)).sum())


def sam_disagreement(scores: Tensor, ious: Tensor) -> Tensor:
    """Compare an image's masks with SAM 2's: x = sum of s (1 - IoU).

    The IoU is that of S4M's refinement: of the network's mask and SAM 2's
    mask for points that are drawn in it. The score is the probability that
    there is an object at all.

    Args:
        scores (Tensor): (n, ) scores of the predictions.
        ious (Tensor): (n, ) IoUs with SAM 2's masks.

    Returns:
        Tensor: x / (1 + x), without dimensions; 0 for n = 0.

    Example:
        >>> scores, ious = torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.0])
        >>> sam_disagreement(scores, ious).item()  # x = 0.5 + 0.5
        0.5
    """
    return saturate((scores * (1 - ious)).sum())


def view_disagreement(
    view: tuple[Tensor, Tensor, Tensor], other: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Compare the predictions of two augmented views of an image.

    As in CALD (`Yu et al., 2021 <https://arxiv.org/abs/2103.10374>`_), a
    prediction is consistent where the other view has one of the same place
    and the same class:

    c_i = max over j of the same class of IoU(i, j) (1 - abs(s_i - s_j)),

    with the IoU of masks in place of boxes, and the scores in place of the
    class distributions, which detectors do not return. x is the mean over
    the two directions of the sum of s_i (1 - c_i).

    Args:
        view (tuple): (n, ) scores, (n, ) labels and (n, h, w) bool masks.
        other (tuple): The same of m predictions of the other view, mapped
            back to the first.

    Returns:
        Tensor: x / (1 + x), without dimensions; 0 without predictions.

    Example:
        >>> masks = torch.tensor([[[True, True]], [[True, False]]])
        >>> view = torch.tensor([0.8]), torch.tensor([0]), masks[:1]
        >>> other = torch.tensor([0.8]), torch.tensor([0]), masks[1:]
        >>> view_disagreement(view, other).item()  # x = 0.8 * (1 - 1 / 2)
        0.2857142984867096
    """
    scores, labels, masks = view
    others, other_labels, other_masks = other
    iou = pairwise_iou(masks, other_masks)
    near = 1 - (scores[:, None] - others[None]).abs()
    agree = iou * near * (labels[:, None] == other_labels[None])
    # A column of zeros: a prediction without a partner has c = 0.
    agree = torch.nn.functional.pad(agree, (0, 1, 0, 1))
    x = (scores * (1 - agree.amax(1)[:-1])).sum()
    x = x + (others * (1 - agree.amax(0)[:-1])).sum()
    return saturate(x / 2)


def class_rarity(counts: Sequence[int]) -> Tensor:
    """Compute the rarity of classes: 1 - n / max n.

    Args:
        counts (Sequence[int]): Numbers n of labelled objects of each class.

    Returns:
        Tensor: (K, ) from 0, the class with the most objects, to 1, a class
        without any.

    Example:
        >>> class_rarity([100, 50, 0]).tolist()
        [0.0, 0.5, 1.0]
    """
    numbers = torch.tensor(counts, dtype=torch.float32)
    return 1 - numbers / numbers.max().clamp(min=1)


def rare_class(scores: Tensor, labels: Tensor, rarity: Tensor) -> Tensor:
    """Find how rare the rarest class of an image is: max of s r(class).

    Args:
        scores (Tensor): (n, ) scores of the predictions.
        labels (Tensor): (n, ) classes of the predictions.
        rarity (Tensor): (K, ) rarity r of each class, see
            :func:`class_rarity`.

    Returns:
        Tensor: the term, without dimensions; 0 for n = 0.

    Example:
        >>> rarity = torch.tensor([0.0, 0.5])
        >>> scores = torch.tensor([0.9, 0.8])
        >>> rare_class(scores, torch.tensor([0, 1]), rarity).item()
        0.4000000059604645
    """
    return torch.cat([scores * rarity[labels], scores.new_zeros(1)]).max()


def average_rank(terms: Mapping[str, np.ndarray]) -> np.ndarray:
    """Combine terms as the mean of their ranks in the folder.

    Ranks, since the terms have different distributions: no term outweighs
    another because its values spread more. All terms weigh the same.

    Args:
        terms (Mapping): (N, ) values of each term.

    Returns:
        ndarray: (N, ) mean of the ranks, each scaled to 0..1; equal values
        share the mean of their ranks.

    Example:
        >>> average_rank(dict(a=np.array([1, 2, 9]), b=np.array([5, 5, 7])))
        array([0.125, 0.375, 1.   ])
    """
    ranks = [rankdata(values) - 1 for values in terms.values()]
    largest = max(len(ranks[0]) - 1, 1)
    return np.mean(ranks, axis=0) / largest


def distances(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute distances of features in 0..1: half of their unit vectors'.

    Args:
        features (ndarray): (N, C).
        others (ndarray): (M, C).

    Returns:
        ndarray: (N, M), 0 for one direction, 1 for opposite ones.

    Example:
        >>> distances(np.array([[1.0, 0.0]]), np.array([[2, 0], [-1, 0]]))
        array([[0., 1.]])
    """
    units = [
        f / np.linalg.norm(f, axis=1, keepdims=True).clip(1e-12)
        for f in (np.asarray(features, float), np.asarray(others, float))
    ]
    return np.sqrt(((1 - units[0] @ units[1].T) / 2).clip(0, 1))


def select_spread(
    value: np.ndarray,
    features: np.ndarray,
    num: int,
    known: np.ndarray | None = None,
) -> list[tuple[int, float, float]]:
    """Choose images of a high value that differ from each other.

    Greedy: each time the image with the largest value times spread is
    chosen. The spread is the distance to the nearest chosen or labelled
    image: with equal values this is the k-center greedy of core-sets (`Sener
    and Savarese, 2018 <https://arxiv.org/abs/1708.00489>`_). Of two
    near-duplicates, the second has a spread near 0 and stays out.

    Args:
        value (ndarray): (N, ) values of the images in 0..1.
        features (ndarray): (N, C) features of the images. Their mean is
            subtracted, since features of one backbone share a large part.
        num (int): Number of images to choose, at most N.
        known (ndarray, optional): (M, C) features of the labelled images.
            Defaults to None.

    Returns:
        list[tuple[int, float, float]]: index, value times spread, and spread
        of each chosen image, in order. The first has a spread of 1 where
        nothing is known.

    Example:
        >>> value = np.array([1.0, 0.9, 0.5])
        >>> features = np.array([[1.0, 0.1], [1.0, 0.1], [-2.0, 0.3]])
        >>> [row[0] for row in select_spread(value, features, 2)]
        [0, 2]
    """
    mean = features.mean(0)
    features = features - mean
    spread = np.ones(len(value))
    if known is not None and len(known):
        spread = distances(features, known - mean).min(1)
    chosen: list[tuple[int, float, float]] = []
    taken = np.zeros(len(value), bool)
    for _ in range(num):
        # Images of value 0 keep their order by the spread.
        gain = np.where(taken, -1, np.maximum(value, 1e-6) * spread)
        best = int(gain.argmax())
        chosen.append((best, float(gain[best]), float(spread[best])))
        taken[best] = True
        to_best = distances(features, features[best : best + 1])[:, 0]
        spread = np.minimum(spread, to_best)
    return chosen
