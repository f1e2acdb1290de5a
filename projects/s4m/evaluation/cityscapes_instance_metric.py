# SPDX-License-Identifier: Apache-2.0
"""Cityscapes' official instance AP."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable
from unittest import mock

import numpy as np
from mmdet.evaluation import CityScapesMetric
from mmdet.evaluation.metrics.cityscapes_metric import CSEval
from mmdet.registry import METRICS
from mmengine.logging import print_log


def evaluate_by_class(
    evaluate: Callable, matches: dict, args: argparse.Namespace
) -> np.ndarray:
    """Call cityscapesScripts' ``evaluateMatches`` for one class at a time.

    It fails with an IndexError where it ignores all predictions of a class
    that has objects, since each lies in a void region, a group or a small
    object (its issue 89). No object of the class is found then, at any
    overlap: its AP is 0, as it would be without these predictions.

    Args:
        evaluate (callable): ``evaluateMatches``.
        matches (dict): Its first argument.
        args (Namespace): Its second argument.

    Returns:
        ndarray: (1, classes, overlaps) AP.
    """
    names, results = args.instLabels, []
    for name in names:
        args.instLabels = [name]
        try:
            results.append(evaluate(matches, args))
        except IndexError:
            print_log(
                f'AP of {name} is 0: all its predictions lie in regions that '
                'Cityscapes ignores.',
                logger='current',
            )
            results.append(np.zeros((1, 1, len(args.overlaps))))
        finally:
            args.instLabels = names
    return np.concatenate(results, axis=1)


@METRICS.register_module()
class CityscapesInstanceMetric(CityScapesMetric):
    """MMDet's ``CityScapesMetric`` that survives the start of a training.

    * Predictions go to a temporary folder by default, so that two runs do not
      delete each other's files. On several nodes name a shared folder.
    * A class whose predictions are all ignored has an AP of 0
      (:func:`evaluate_by_class`), which happens to young networks. The AP is
      nan only where the ground truth has no object of any class.

    Args:
        seg_prefix (str): Folder of the ground truth PNGs.
        outfile_prefix (str, optional): Folder for the predictions.
        **kwargs: Arguments of ``CityScapesMetric``.
    """

    def __init__(
        self, seg_prefix: str, outfile_prefix: str | None = None, **kwargs
    ) -> None:
        super().__init__(
            outfile_prefix=outfile_prefix, seg_prefix=seg_prefix, **kwargs
        )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """``mAP`` and ``AP@50`` as fractions; logs the table per class."""
        printed = io.StringIO()
        evaluate = CSEval.evaluateMatches
        by_class = mock.patch.object(
            CSEval,
            'evaluateMatches',
            lambda matches, args: evaluate_by_class(evaluate, matches, args),
        )
        # cityscapesScripts prints a counter for each image.
        with by_class, contextlib.redirect_stdout(printed):
            metrics = super().compute_metrics(results)
        table = printed.getvalue().partition('#####')
        print_log('\n' + ''.join(table[1:]), logger='current')
        return metrics
