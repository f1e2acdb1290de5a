# SPDX-License-Identifier: Apache-2.0
"""Compute the instance AP of cityscapesScripts from the matches of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cityscapesscripts.evaluation import (
    evalInstanceLevelSemanticLabeling as CSEval,
)
from mmengine.logging import print_log

from .cityscapes_matches import CLASSES, ImageMatches


def average_precisions(images: Sequence[ImageMatches]) -> np.ndarray:
    """Compute the AP of each class at each overlap.

    Equal to ``evaluateMatches`` of cityscapesScripts 2 to the last digit:

    * A prediction finds an object if their IoU is above the overlap. The
      most confident one is a true positive, the others are false positives.
    * A prediction without an object, group or small object is a false
      positive, unless the share of its pixels that are void, in a group or in
      a small object (of less than 100 pixels) is above the overlap.
    * An object that nothing finds lowers the recall at every confidence.

    ``evaluateMatches`` fails with an IndexError if it ignores all predictions
    of a class that has objects (issue 89 of cityscapesScripts). Then the AP
    is 0 here, the same as without these predictions.

    Args:
        images (Sequence[ImageMatches]): Matches of all images. An image that
            occurs twice counts once.

    Returns:
        ndarray: (1, classes, overlaps) AP as fractions; nan for a class
        without objects.
    """
    images = list({image.file: image for image in images}.values())
    table = _Table(images)
    overlaps = CSEval.args.overlaps
    aps = np.full((1, len(CLASSES), len(overlaps)), np.nan)
    ignored = set()
    for column, overlap in enumerate(overlaps):
        classes, scores, is_true, missed = table.at(overlap)
        for row, name in enumerate(CLASSES):
            if not table.num_objects[row]:
                continue
            chosen = classes == row
            if chosen.any():
                aps[0, row, column] = _average_precision(
                    scores[chosen], is_true[chosen], missed[row]
                )
            else:
                aps[0, row, column] = 0.0
                if table.num_predictions[row]:
                    ignored.add(name)
    for name in sorted(ignored):
        print_log(
            f'AP of {name} is 0: all its predictions lie in regions that '
            'Cityscapes ignores.',
            logger='current',
        )
    return aps


class _Table:
    """Predictions, ground truth and pairs of all images in one array each.

    Args:
        images (list[ImageMatches]): Matches of all images.
    """

    def __init__(self, images: list[ImageMatches]) -> None:
        def joined(name: str, sizes: list[int] | None = None) -> np.ndarray:
            parts = [getattr(image, name) for image in images]
            if sizes is not None:  # an index in the image
                starts = np.cumsum([0, *sizes])
                parts = [p + s for p, s in zip(parts, starts, strict=False)]
            return np.concatenate(parts) if parts else np.zeros(0, np.int64)

        min_pixels = CSEval.args.minRegionSizes[0]
        gt_classes, gt_pixels = joined('gt_classes'), joined('gt_pixels')
        is_group = joined('gt_is_group').astype(bool)
        is_small = gt_pixels < min_pixels
        #: (G,) bools: objects that can be found or missed.
        self.counts = ~is_group & ~is_small
        self.gt_classes = gt_classes
        self.classes, self.scores = joined('classes'), joined('scores')
        pixels = joined('pixels')
        self.prediction = joined(
            'pair_prediction', [len(image.classes) for image in images]
        )
        self.gt = joined(
            'pair_gt', [len(image.gt_classes) for image in images]
        )
        common = joined('pair_pixels')
        self.iou = common / (
            gt_pixels[self.gt] + pixels[self.prediction] - common
        )
        # The pixels of a small group count twice, as in cityscapesScripts.
        weights = is_group.astype(np.int64) + is_small
        ignored = joined('void_pixels') + np.bincount(
            self.prediction,
            weights=common * weights[self.gt],
            minlength=len(pixels),
        )
        #: (P,) shares of the predictions that are ignored regions.
        self.ignored = ignored / pixels
        #: (classes,) numbers of counted objects and of predictions.
        self.num_objects = _per_class(gt_classes[self.counts])
        self.num_predictions = _per_class(self.classes)

    def at(
        self, overlap: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Find true and false positives.

        Args:
            overlap (float): IoU above which a prediction finds an object.

        Returns:
            tuple: (M,) classes, scores and bools (true positives) of all
            predictions that are not ignored, and (classes,) numbers of
            objects that none found.
        """
        hits = self.iou > overlap
        found = np.zeros(len(self.classes), bool)
        found[self.prediction[hits]] = True
        false = np.flatnonzero(~found & (self.ignored <= overlap))
        pairs = np.flatnonzero(hits & self.counts[self.gt])
        # By object, and the most confident prediction of each first.
        pairs = pairs[
            np.lexsort((-self.scores[self.prediction[pairs]], self.gt[pairs]))
        ]
        first = np.diff(self.gt[pairs], prepend=-1) != 0
        matched = self.gt[pairs][first]
        entries = np.concatenate([self.prediction[pairs], false])
        return (
            self.classes[entries],
            self.scores[entries],
            np.concatenate([first, np.zeros(len(false), bool)]),
            self.num_objects - _per_class(self.gt_classes[matched]),
        )


def _per_class(classes: np.ndarray) -> np.ndarray:
    """Count the items of each class.

    Args:
        classes (ndarray): (N,) indices in ``CLASSES``.

    Returns:
        ndarray: (classes,) int64.
    """
    return np.bincount(classes.astype(np.int64), minlength=len(CLASSES))


def _average_precision(
    scores: np.ndarray, is_true: np.ndarray, missed: int
) -> float:
    """Compute the area under the curve, in cityscapesScripts' way.

    Every operation is the same and in the same order as in its
    ``evaluateMatches``, so that the result does not differ by rounding.

    Args:
        scores (ndarray): (M,) confidences, M at least 1.
        is_true (ndarray): (M,) bools: true positives.
        missed (int): Number of objects that no prediction found.

    Returns:
        float: the average precision.
    """
    order = np.argsort(scores)
    # Number of true positives below a position of the sorted predictions.
    below = np.append(0.0, np.cumsum(is_true[order]))
    _, starts = np.unique(scores[order], return_index=True)
    true = below[-1] - below[starts]
    false = len(scores) - starts - true
    precision = np.append(true / (true + false), 1.0)
    recall = np.append(true / (true + below[starts] + missed), 0.0)
    padded = np.concatenate([recall[:1], recall, [0.0]])
    widths = np.convolve(padded, [-0.5, 0, 0.5], 'valid')
    return float(np.dot(precision, widths))
