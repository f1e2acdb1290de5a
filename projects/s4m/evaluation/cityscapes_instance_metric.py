# SPDX-License-Identifier: Apache-2.0
"""Compute Cityscapes' official instance AP."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from cityscapesscripts.evaluation import (
    evalInstanceLevelSemanticLabeling as CSEval,
)
from cityscapesscripts.helpers.labels import name2label
from mmdet.evaluation import CityScapesMetric
from mmdet.registry import METRICS
from mmengine.logging import print_log
from torch import Tensor

from .cityscapes_ap import average_precisions
from .cityscapes_matches import (
    CLASSES,
    ImageMatches,
    match_image,
    read_ground_truth,
)


@METRICS.register_module()
class CityscapesInstanceMetric(CityScapesMetric):
    """MMDet's ``CityScapesMetric``: the same AP, without files of predictions.

    * Each process matches its images with the ground truth as soon as they
      are predicted, on the device of the masks. Only numbers of pixels are
      gathered, and the AP then takes a second or two.
    * PNGs and lists in Cityscapes' format are written only to
      ``outfile_prefix``.
    * A class whose predictions are all ignored has an AP of 0
      (:func:`.average_precisions`), as at the start of a training. The AP is
      nan only if the ground truth has no object of any class.

    Args:
        seg_prefix (str): Folder of the ground truth. The file of an image
            follows from its path as in ``CityScapesMetric``: ``leftImg8bit``
            becomes ``gtFine``, the name ends in ``_gtFine_instanceIds.png``.
        outfile_prefix (str, optional): Folder whose subfolder ``results`` gets
            the predictions; several nodes need a shared one. Defaults to
            None, no files.
        format_only (bool): Whether to write the predictions without computing
            the AP. Defaults to False.
        collect_device (str): ``'cpu'`` or ``'gpu'``, over which processes
            exchange matches. Defaults to ``'cpu'``.
        prefix (str, optional): Prefix of the names of the metrics. Defaults
            to ``'cityscapes'``.
        backend_args (dict, optional): File backend of the ground truth.
            Defaults to None, chosen by the path.

    Raises:
        ValueError: if ``format_only`` lacks ``outfile_prefix``.

    Example:
        >>> metric = dict(
        ...     type='CityscapesInstanceMetric',
        ...     seg_prefix='data/cityscapes/gtFine/val',
        ... )
    """

    # MMDet's __del__ reads it, also after an error in __init__.
    tmp_dir: Any = None

    def __init__(
        self,
        seg_prefix: str,
        outfile_prefix: str | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        backend_args: dict | None = None,
    ) -> None:
        if format_only and outfile_prefix is None:
            raise ValueError(
                'format_only=True of CityscapesInstanceMetric needs '
                'outfile_prefix, the folder of the predictions.'
            )
        super().__init__(
            outfile_prefix=outfile_prefix,
            seg_prefix=seg_prefix,
            format_only=format_only,
            collect_device=collect_device,
            prefix=prefix,
            backend_args=backend_args,
        )
        if outfile_prefix is None:
            self.tmp_dir.cleanup()  # MMDet's folder for its PNGs
            self.tmp_dir = self.outfile_prefix = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Match the predictions of images, and write them if asked to.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): Each has ``img_path`` and
                ``pred_instances`` with (N,) ``labels``, (N,) ``mask_scores``
                or ``scores``, and (N, H, W) ``masks``.

        Raises:
            FileNotFoundError: if an image has no ground truth.
        """
        if self.outfile_prefix is not None:
            done = len(self.results)
            super().process(data_batch, data_samples)
            if self.format_only:
                return
            del self.results[done:]
        for sample in data_samples:
            self.results.append(
                self._match(sample['img_path'], sample['pred_instances'])
            )

    def _match(self, img_path: str, pred: dict[str, Tensor]) -> ImageMatches:
        file = img_path.replace('leftImg8bit.png', 'gtFine_instanceIds.png')
        file = file.replace('leftImg8bit', 'gtFine')
        if file == img_path:
            raise ValueError(
                f'The path {img_path} does not say where its ground truth is. '
                'Images of Cityscapes are leftImg8bit/<split>/<city>/'
                '*_leftImg8bit.png; for other data use CocoInstanceMetric.'
            )
        try:
            gt = read_ground_truth(file, self.backend_args)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{img_path} has no ground truth {file} '
                f'(seg_prefix={self.seg_prefix!r}). Unpack '
                'gtFine_trainvaltest.zip beside leftImg8bit.'
            ) from error
        indices = np.array([_index(x) for x in self.dataset_meta['classes']])
        return match_image(
            file,
            gt,
            indices[pred['labels'].cpu().numpy()],
            pred['mask_scores' if 'mask_scores' in pred else 'scores'],
            pred['masks'],
        )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute ``mAP`` and ``AP@50`` as fractions, and log all classes.

        Args:
            results (list[ImageMatches]): Matches of all images.
        """
        if self.format_only:
            return super().compute_metrics(results)
        args = copy.copy(CSEval.args)
        args.instLabels, args.colorized = CLASSES, False
        averages = CSEval.computeAverages(average_precisions(results), args)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            CSEval.printResults(averages, args)
        print_log(printed.getvalue().rstrip(), logger='current')
        return {
            'mAP': float(averages['allAp']),
            'AP@50': float(averages['allAp50%']),
        }


def _index(name: str) -> int:
    """Find a class of the data set in ``CLASSES``.

    Args:
        name (str): Name of the class.

    Returns:
        int: its index, or -1 for a class that Cityscapes does not evaluate.

    Raises:
        ValueError: if Cityscapes does not know the name.
    """
    if name not in name2label:
        raise ValueError(
            f'Cityscapes has no class {name!r}: metainfo.classes of the data '
            f'set must be names of its labels, such as {CLASSES}.'
        )
    return CLASSES.index(name) if name in CLASSES else -1
