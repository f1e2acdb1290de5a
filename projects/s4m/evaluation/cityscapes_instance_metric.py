# SPDX-License-Identifier: Apache-2.0
"""Compute Cityscapes' official instance AP."""

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

    ``evaluateMatches`` fails with an IndexError if it ignores all predictions
    of a class that has objects, since each lies in a void region, a group or
    a small object (issue 89 of cityscapesScripts). Then the AP of the class
    is 0, the same as without these predictions.

    Args:
        evaluate (Callable): ``evaluateMatches``.
        matches (dict): First argument of ``evaluate``.
        args (Namespace): Second argument of ``evaluate``.

    Returns:
        ndarray: (1, classes, overlaps) AP as fractions.
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
    """MMDet's ``CityScapesMetric`` that also handles untrained networks.

    * Predictions go to a temporary folder by default, so that two runs do not
      delete each other's files. Several nodes need a shared folder.
    * A class whose predictions are all ignored has an AP of 0
      (:func:`evaluate_by_class`), as at the start of a training. The AP is
      nan only if the ground truth has no object of any class.

    Args:
        seg_prefix (str): Folder of the ground truth PNGs.
        outfile_prefix (str, optional): Folder for the predictions. Defaults
            to None, a temporary folder.
        **kwargs: Arguments of ``CityScapesMetric``.

    Example:
        >>> metric = dict(
        ...     type='CityscapesInstanceMetric',
        ...     seg_prefix='data/cityscapes/gtFine/val',
        ... )
    """

    def __init__(
        self, seg_prefix: str, outfile_prefix: str | None = None, **kwargs
    ) -> None:
        super().__init__(
            outfile_prefix=outfile_prefix, seg_prefix=seg_prefix, **kwargs
        )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute ``mAP`` and ``AP@50`` as fractions, and log all classes."""
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
