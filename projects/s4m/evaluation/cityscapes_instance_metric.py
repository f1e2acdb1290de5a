# SPDX-License-Identifier: Apache-2.0
"""Cityscapes' official instance AP."""

from __future__ import annotations

import contextlib
import io

from mmdet.evaluation import CityScapesMetric
from mmdet.registry import METRICS
from mmengine.logging import print_log


@METRICS.register_module()
class CityscapesInstanceMetric(CityScapesMetric):
    """MMDet's ``CityScapesMetric`` that survives the start of a training.

    * Predictions go to a temporary folder by default, so that two runs do not
      delete each other's files. On several nodes name a shared folder.
    * cityscapesScripts fails with an IndexError when all predictions of a
      class lie in ignored regions (its issue 89), which happens to young
      networks: that evaluation is reported as nan.

    Args:
        seg_prefix (str): Folder of the ground truth PNGs.
        outfile_prefix (str, optional): Folder for the predictions.
        **kwargs: Those of ``CityScapesMetric``.
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
        try:
            # cityscapesScripts prints a counter for each image.
            with contextlib.redirect_stdout(printed):
                metrics = super().compute_metrics(results)
            table = printed.getvalue().partition('#####')
            print_log('\n' + ''.join(table[1:]), logger='current')
            return metrics
        except IndexError:
            print_log(
                'cityscapesScripts cannot score this evaluation: all '
                'predictions of a class lie in ignored regions '
                '(cityscapesScripts issue 89). Reported as nan.',
                logger='current',
                level=30,
            )
            return {'mAP': float('nan'), 'AP@50': float('nan')}
