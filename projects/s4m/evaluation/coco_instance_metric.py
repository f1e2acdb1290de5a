# SPDX-License-Identifier: Apache-2.0
"""Compute COCO's mask AP of a network that may predict nothing."""

from __future__ import annotations

import functools
from unittest import mock

from mmdet.evaluation import CocoMetric
from mmdet.evaluation.metrics import coco_metric
from mmdet.registry import METRICS

try:
    from faster_coco_eval import COCOeval_faster
except ImportError:  # requirements/optional.txt
    COCOeval_faster = None


def fastest_evaluation() -> type | functools.partial:
    """Choose the class that computes COCO's AP.

    Returns:
        type | partial: faster-coco-eval's ``COCOeval_faster`` if it is
        installed, else the one of pycocotools. Their AP and AR differ by
        rounding only, less than 1e-12.
    """
    if COCOeval_faster is None:
        return coco_metric.COCOeval
    # pycocotools prints its table, too.
    return functools.partial(COCOeval_faster, print_function=print)


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
        **kwargs: Further arguments of ``CocoMetric``.

    Example:
        >>> CocoInstanceMetric(format_only=True, outfile_prefix='out').metrics
        ['segm']
    """

    def __init__(self, metric: str | list[str] = 'segm', **kwargs) -> None:
        super().__init__(metric=metric, **kwargs)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics, as fractions."""
        if self._coco_api is not None:
            self.img_ids = [pred['img_id'] for _, pred in results]
        with mock.patch.object(coco_metric, 'COCOeval', fastest_evaluation()):
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
