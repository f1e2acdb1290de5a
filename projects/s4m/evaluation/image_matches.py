# SPDX-License-Identifier: Apache-2.0
"""Match predictions and objects one to one, without decoding their masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from s4m.datasets.formats.polygons import polygons_rle

Annotations = list[dict[str, Any]]


def annotation_rle(
    annotation: dict[str, Any], height: int, width: int
) -> dict[str, Any]:
    """Return the mask of a COCO annotation as one RLE.

    Args:
        annotation (dict): Entry whose ``segmentation`` is a list of polygons
            or an RLE.
        height (int): Height of the image in pixels.
        width (int): Width of the image in pixels.

    Example:
        >>> square = dict(segmentation=[[0, 0, 2, 0, 2, 2, 0, 2]])
        >>> int(mask_utils.area(annotation_rle(square, 4, 4)))
        4
    """
    mask = annotation['segmentation']
    if isinstance(mask, list):
        return polygons_rle(mask, (height, width))
    if isinstance(mask['counts'], list):
        return mask_utils.frPyObjects(mask, height, width)
    return mask


@dataclass
class ImageMatches:
    """The predictions of an image and the objects that they match.

    Attributes:
        objects (list[dict]): m annotations, groups left out.
        predictions (list[dict]): n annotations with ``score``, the best
            first; those that match nothing but a group are left out.
        match (ndarray): (n, ) index of the object that a prediction matches,
            -1 for none.
        overlap (ndarray): (n, ) largest IoU of a prediction with an object,
            whether this is free or not.
        covered (ndarray): (n, ) share of a prediction's area that lies in
            one object, the largest of all objects.
        object_overlap (ndarray): (m, ) largest IoU of an object with a
            prediction.
    """

    objects: Annotations
    predictions: Annotations
    match: np.ndarray
    overlap: np.ndarray
    covered: np.ndarray
    object_overlap: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """(n, ) scores of the predictions, the best first."""
        return np.array([p['score'] for p in self.predictions], float)

    @property
    def right(self) -> np.ndarray:
        """(n, ) bool: predictions that match an object of their class."""
        kinds = np.array([o['category_id'] for o in self.objects] + [-1])
        own = np.array([p['category_id'] for p in self.predictions], int)
        return (self.match >= 0) & (kinds[self.match] == own)

    def f1(self, score_thr: float) -> float:
        """Compute the F1 score of the predictions from a score on.

        Twice the right predictions over predictions plus objects; 1 where
        there are neither.
        """
        shown = self.scores >= score_thr
        total = int(shown.sum()) + len(self.objects)
        return 2 * int(self.right[shown].sum()) / total if total else 1.0


def match_image(
    objects: Annotations,
    predictions: Annotations,
    height: int,
    width: int,
    iou_thr: float = 0.5,
) -> ImageMatches:
    """Match the predictions and the objects of an image.

    As in COCO's evaluation, the predictions choose in the order of their
    scores, each the free object of the best IoU if this is at least
    ``iou_thr``. Classes do not matter, so that a wrong class is seen. The
    matches of the predictions above a score do not depend on the others.

    Args:
        objects (list[dict]): COCO annotations; groups (``iscrowd``) excuse
            predictions in them.
        predictions (list[dict]): COCO annotations with ``score``.
        height (int): Height of the image in pixels.
        width (int): Width of the image in pixels.
        iou_thr (float): Least IoU of a match. Defaults to 0.5.

    Returns:
        ImageMatches: The matches.

    Example:
        >>> mask = [[0, 0, 2, 0, 2, 2, 0, 2]]
        >>> apple = dict(category_id=1, segmentation=mask)
        >>> match_image([apple], [dict(apple, score=0.9)], 4, 4).f1(0.5)
        1.0
    """
    groups = [o for o in objects if o.get('iscrowd', 0)]
    objects = [o for o in objects if not o.get('iscrowd', 0)]
    predictions = sorted(predictions, key=lambda p: -p['score'])
    rles, truth, crowds = (
        [annotation_rle(a, height, width) for a in items]
        for items in (predictions, objects, groups)
    )
    iou = _overlaps(rles, truth, is_group=False)
    free = np.ones(len(truth), bool)
    match = np.full(len(rles), -1)
    for i, row in enumerate(iou):
        allowed = np.where(free & (row >= iou_thr), row, -1.0)
        if len(allowed) and allowed.max() >= 0:
            match[i] = allowed.argmax()
            free[match[i]] = False
    keep = match >= 0
    if crowds:
        keep |= _overlaps(rles, crowds, is_group=True).max(1) < iou_thr
    else:
        keep[:] = True
    covered = _overlaps(rles, truth, is_group=True)
    return ImageMatches(
        objects,
        [p for p, kept in zip(predictions, keep, strict=True) if kept],
        match[keep],
        iou.max(1, initial=0.0)[keep],
        covered.max(1, initial=0.0)[keep],
        iou.max(0, initial=0.0),
    )


def _overlaps(a: Sequence, b: Sequence, *, is_group: bool) -> np.ndarray:
    """Compute the (n, m) IoU, or the share of each ``a`` in each ``b``."""
    if not a or not b:
        return np.zeros((len(a), len(b)))
    return np.asarray(mask_utils.iou(list(a), list(b), [is_group] * len(b)))


def confusion_of(
    images: Iterable[ImageMatches],
    category_ids: Sequence[int],
    score_thr: float,
) -> np.ndarray:
    """Count the classes of objects and of the predictions that match them.

    A second prediction of an object is not counted.

    Args:
        images (Iterable[ImageMatches]): Matches of each image.
        category_ids (Sequence[int]): Ids of the K classes.
        score_thr (float): Least score of a prediction.

    Returns:
        ndarray: (K + 1, K + 1) numbers. Rows are the classes of the objects
        and "no object", columns those of the predictions and "not found".
    """
    place = {c: k for k, c in enumerate(category_ids)}
    none = len(place)
    matrix = np.zeros((none + 1, none + 1), int)
    for image in images:
        found = set()
        for p, j, iou in zip(
            image.predictions, image.match, image.overlap, strict=True
        ):
            if p['score'] < score_thr:
                break
            if j >= 0:
                found.add(int(j))
                row = place[image.objects[j]['category_id']]
                matrix[row, place[p['category_id']]] += 1
            elif iou < 0.5:
                matrix[none, place[p['category_id']]] += 1
        for j, item in enumerate(image.objects):
            if j not in found:
                matrix[place[item['category_id']], none] += 1
    return matrix


def best_threshold(images: Sequence[ImageMatches]) -> tuple[float, float]:
    """Find the least score of a prediction that gives the best F1.

    Args:
        images (Sequence[ImageMatches]): Matches of each image.

    Returns:
        tuple[float, float]: the score, and F1 of all images together; (0, 0)
        without a prediction.

    Example:
        >>> none = np.zeros(0, int)
        >>> best_threshold([ImageMatches([], [], none, none, none, none)])
        (0.0, 0.0)
    """
    scores = np.concatenate([[], *(i.scores for i in images)])
    if not len(scores):
        return 0.0, 0.0
    right = np.concatenate([[], *(i.right for i in images)])
    order = np.argsort(-scores, kind='stable')
    hits = np.cumsum(right[order])
    objects = sum(len(i.objects) for i in images)
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + objects)
    # Predictions of one score are shown together.
    last = np.append(np.diff(scores[order]) != 0, True)
    f1[~last] = -1
    best = int(f1.argmax())
    return float(scores[order][best]), float(f1[best])
