# SPDX-License-Identifier: Apache-2.0
"""Thresholds of pseudo-labels by their precision on labelled images."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from s4m.models.detectors import SemiInstanceSegmentor
from s4m.models.pseudo_labels.precision import (
    lowest_precise_thresholds,
    true_positives,
)
from s4m.structures.masks import (
    masks_at_image_size,
    pad_masks,
    spatial_size,
)
from s4m.utils.model_wrappers import unwrapped_model

from .single_hook import check_single

#: Number of intervals of scores between 0 and 1.
_BINS = 100
_STATE = 'precision_thresholds'


@HOOKS.register_module()
class PrecisionThresholdHook(Hook):
    """Hook that sets the labeller's threshold of each class by precision.

    Every ``interval`` iterations, the teacher and the labeller label the
    labelled images of the batch too, with the threshold ``min_thr``. The
    pseudo-labels and the right ones among them (:func:`true_positives`) are
    counted by class and score, over all processes, and older counts fade by
    ``decay``. The threshold of a class becomes the lowest counted score from
    which on the precision reaches ``precision``, but stays in
    ``min_thr..max_thr``. Classes with less than ``min_count`` pseudo-labels
    retain the threshold of the config.

    The teacher was trained on these images, so their precision is higher than
    that of unlabelled images, and the thresholds are lower than they should
    be. Choose ``precision`` higher than the precision you want.

    The counts are in the checkpoint, so that a run can be resumed. No random
    number is drawn. The hook logs the mean of the thresholds as
    ``pseudo_thr``.

    Args:
        precision (float): Precision to reach. Defaults to 0.9.
        interval (int): Number of iterations between two measurements.
            Defaults to 50.
        min_thr (float): Lower bound of the thresholds. Defaults to 0.5.
        max_thr (float): Upper bound of the thresholds. Defaults to 0.95.
        decay (float): Factor of the counts before each measurement. Defaults
            to 0.9.
        min_count (float): Number of counted pseudo-labels that a class needs.
            Defaults to 20.
        iou_thr (float): IoU that a right mask exceeds. Defaults to 0.5.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> hook = HOOKS.build(
        ...     dict(type='PrecisionThresholdHook', precision=0.8))
        >>> hook.min_thr, hook.max_thr
        (0.5, 0.95)
    """

    def __init__(
        self,
        precision: float = 0.9,
        interval: int = 50,
        min_thr: float = 0.5,
        max_thr: float = 0.95,
        decay: float = 0.9,
        min_count: float = 20.0,
        iou_thr: float = 0.5,
    ) -> None:
        if not 0 < precision <= 1:
            raise ValueError(f'precision must be in 0..1, got {precision}')
        if interval < 1:
            raise ValueError(f'interval must be >= 1, got {interval}')
        if not 0 <= min_thr <= max_thr <= 1:
            raise ValueError(
                'min_thr and max_thr must be in 0..1 and in this order, got '
                f'{min_thr} and {max_thr}'
            )
        if not 0 <= decay <= 1:
            raise ValueError(f'decay must be in 0..1, got {decay}')
        if min_count < 0:
            raise ValueError(f'min_count must be >= 0, got {min_count}')
        if not 0.5 <= iou_thr <= 1:
            raise ValueError(
                f'iou_thr must be in 0.5..1, got {iou_thr}: below one half a '
                'mask could have two objects.'
            )
        self.precision = precision
        self.interval = interval
        self.min_thr = min_thr
        self.max_thr = max_thr
        self.decay = decay
        self.min_count = min_count
        self.iou_thr = iou_thr
        #: (2, K, S) numbers of pseudo-labels and of right ones.
        self._counts: Tensor | None = None
        self._batch: dict[str, Any] | None = None
        self._handle: Any = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read the counts of a run that resumes.

        Args:
            runner (Runner): Runner of the training.
            checkpoint (dict): Checkpoint that MMEngine has read.
        """
        if runner._resume:
            self._counts = checkpoint.get(_STATE)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the counts to the checkpoint.

        Args:
            runner (Runner): Runner of the training.
            checkpoint (dict): Checkpoint, changed in place.
        """
        if self._counts is not None:
            checkpoint[_STATE] = self._counts.cpu()

    def before_train(self, runner: Runner) -> None:
        """Remember the thresholds of the config, and restore the counts.

        Args:
            runner (Runner): Runner of the training.

        Raises:
            ValueError: if the labeller has no thresholds of classes, or the
                checkpoint has the counts of another number of classes.
        """
        check_single(
            runner, self, 'thresholds', 'each would set the thresholds'
        )
        model = unwrapped_model(runner)
        labeler: Any = getattr(model, 'pseudo_labeler', None)
        if not hasattr(labeler, 'set_thresholds'):
            raise ValueError(
                f'{type(model).__name__} with the labeller '
                f'{type(labeler).__name__} has no thresholds that '
                'default_hooks.thresholds could set. Remove the hook, or use '
                'a QueryPseudoLabeler or a PredictionPseudoLabeler.'
            )
        num_classes = len(runner.train_dataloader.dataset.metainfo['classes'])
        shape = (2, num_classes, _BINS)
        device = labeler.thresholds.device
        self._configured = labeler.thresholds.clone()
        if self._counts is None:
            self._counts = torch.zeros(shape, device=device)
            return
        if self._counts.shape != shape:
            raise ValueError(
                f'The checkpoint has counts of {self._counts.shape[1]} '
                f'classes, but the data set has {num_classes}. Resume with '
                'the config of the run.'
            )
        self._counts = self._counts.to(device)
        labeler.set_thresholds(self._thresholds())

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
    ) -> None:
        """Record the preprocessed batch of an iteration that measures.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
        """
        if self.every_n_train_iters(runner, self.interval):
            preprocessor = unwrapped_model(runner).data_preprocessor
            self._handle = preprocessor.register_forward_hook(self._record)

    def _record(self, module: nn.Module, args: tuple, batch: dict) -> None:
        self._batch = batch

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Measure on the labelled images of the batch and set the thresholds.

        Burn-in on labelled images only (``strategy='standard'``) has no
        teacher to measure yet.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Not used.
        """
        if self._handle is None:
            return
        self._handle.remove()
        batch, self._batch, self._handle = self._batch, None, None
        model = unwrapped_model(runner)
        if batch is None or model.unsup_weight == 0:
            return
        assert self._counts is not None
        with runner.optim_wrapper.optim_context(runner.model):
            counts = self._measure(
                model, batch['inputs']['sup'], batch['data_samples']['sup']
            )
        all_reduce(counts)
        self._counts = self.decay * self._counts + counts
        thresholds = self._thresholds()
        model.pseudo_labeler.set_thresholds(thresholds)
        runner.message_hub.update_scalar(
            'train/pseudo_thr', thresholds.mean().item()
        )

    @torch.no_grad()
    def _measure(
        self, model: SemiInstanceSegmentor, rgb: Tensor, data_samples: list
    ) -> Tensor:
        """Count the pseudo-labels of labelled images by class and score.

        Args:
            model (SemiInstanceSegmentor): Model with the teacher.
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.
            data_samples (list[DetDataSample]): Samples with
                ``gt_instances``.

        Returns:
            Tensor: (2, K, S) numbers of pseudo-labels and of right ones.
        """
        assert self._counts is not None
        counts = torch.zeros_like(self._counts)
        # What is above a threshold does not depend on what is below it.
        model.pseudo_labeler.set_thresholds(
            torch.full_like(self._configured, self.min_thr)
        )
        size = spatial_size(rgb)
        for item, sample in zip(
            model.get_pseudo_instances(rgb, data_samples),
            data_samples,
            strict=True,
        ):
            gt = sample.gt_instances
            item.masks = masks_at_image_size(item, size)
            right = true_positives(
                item,
                gt.labels,
                pad_masks(gt.masks, size, rgb.device),
                self.iou_thr,
            )
            scores = (item.scores * _BINS).long().clamp(0, _BINS - 1)
            for row, values in zip(
                counts, (torch.ones_like(right), right), strict=True
            ):
                row.index_put_(
                    (item.labels, scores), values.to(row), accumulate=True
                )
        return counts

    def _thresholds(self) -> Tensor:
        """Compute the (K, ) thresholds from the counts."""
        assert self._counts is not None
        total, correct = self._counts
        thresholds = lowest_precise_thresholds(total, correct, self.precision)
        return torch.where(
            total.sum(1) >= self.min_count,
            thresholds.clamp(self.min_thr, self.max_thr),
            self._configured,
        )
