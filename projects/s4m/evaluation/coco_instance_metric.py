# SPDX-License-Identifier: Apache-2.0
"""Compute COCO's mask AP of a network that may predict nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.evaluation.metrics import coco_metric
from mmdet.registry import METRICS

try:
    from faster_coco_eval import COCOeval_faster
except ImportError:  # requirements/optional.txt
    COCOeval_faster = None


def fastest_evaluation() -> Callable:
    """Choose the class that computes COCO's AP.

    Returns:
        Callable: faster-coco-eval's ``COCOeval_faster`` if it is
        installed, else the one of pycocotools. Their AP and AR differ by
        rounding only, less than 1e-12.
    """
    if COCOeval_faster is None:
        return coco_metric.COCOeval
    # pycocotools prints its table, too.
    return functools.partial(COCOeval_faster, print_function=print)


def _counting_all(evaluation: Callable, *args, **kwargs) -> Any:
    """Make an evaluation whose mAP counts as many predictions as its AP50.

    COCO's mAP alone is fixed to 100 predictions, whatever ``maxDets`` is.
    """
    evaluator = evaluation(*args, **kwargs)
    summarize = evaluator.summarize

    def summarize_all() -> None:
        summarize()
        # Thresholds, recalls, classes; all areas; the largest maxDets.
        precision = np.asarray(evaluator.eval['precision'])[:, :, :, 0, -1]
        known = precision[precision > -1]
        evaluator.stats[0] = known.mean() if known.size else -1

    evaluator.summarize = summarize_all
    return evaluator


@METRICS.register_module()
class CocoInstanceMetric(CocoMetric):
    """MMDet's ``CocoMetric``, with an AP of 0 if nothing is predicted.

    At the start of a training a network may predict nothing. ``CocoMetric``
    then returns no metric, so that ``save_best`` of the checkpoint hook, early
    stopping and the tables of the tools would fail with a KeyError.

    faster-coco-eval computes the AP where it is installed, with the same
    numbers as pycocotools.

    Only the images that were evaluated count: with ``indices`` of the data
    set, ``CocoMetric`` would count the objects of the other images as missed.

    Args:
        metric (str | list[str]): Kinds of AP. Defaults to ``segm``.
        max_dets (int, optional): Number of an image's best predictions that
            every AP counts, for images with more than 100 objects: COCO's
            mAP counts 100, so that a perfect model of 300 objects an image
            has an mAP of 0.34. Numbers up to 100 change nothing. Defaults to
            None, COCO's.
        **kwargs: Further arguments of ``CocoMetric``.

    Raises:
        ValueError: if ``max_dets`` is less than 1.

    Example:
        >>> CocoInstanceMetric(format_only=True, outfile_prefix='out').metrics
        ['segm']
    """

    def __init__(
        self,
        metric: str | list[str] = 'segm',
        max_dets: int | None = None,
        **kwargs,
    ) -> None:
        if max_dets is not None and max_dets < 1:
            raise ValueError(f'max_dets must be >= 1, got {max_dets}')
        self.max_dets = max_dets
        if max_dets is not None and max_dets > 100:
            kwargs.setdefault('proposal_nums', (10, 100, max_dets))
        super().__init__(metric=metric, **kwargs)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics, as fractions."""
        if self._coco_api is not None:
            self.img_ids = [pred['img_id'] for _, pred in results]
        evaluation = fastest_evaluation()
        if self.max_dets is not None and self.max_dets > 100:
            evaluation = functools.partial(_counting_all, evaluation)
        with mock.patch.object(coco_metric, 'COCOeval', evaluation):
            metrics = super().compute_metrics(results)
        names = self.metric_items or (
            'mAP',
            'mAP_50',
            'mAP_75',
            'mAP_s',
            'mAP_m',
            'mAP_l',
        )
        for kind in self.metrics:
            # Recall of proposals has other names.
            if kind in ('bbox', 'segm') and not self.format_only:
                for name in names:
                    metrics.setdefault(f'{kind}_{name}', 0.0)
        return metrics
