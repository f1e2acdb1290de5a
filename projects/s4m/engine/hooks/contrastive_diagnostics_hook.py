# SPDX-License-Identifier: Apache-2.0
"""The margin and the false-negative rate of the contrastive loss."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from s4m.models.losses import PixelContrastiveLoss
from s4m.utils.model_wrappers import unwrapped_model


@HOOKS.register_module()
class ContrastiveDiagnosticsHook(Hook):
    """Hook that logs the contrast margin and the false-negative rate.

    `SSKD <https://arxiv.org/abs/2604.03841>`_, Proposition 3.1, is about
    these two quantities. Every ``interval`` iterations the hook writes to the
    log and the visualiser backends:

    * ``contrast/margin``: the mean cosine of the positive pairs minus the
      mean cosine of the sampled negative pairs;
    * ``contrast/fnr_pred``: the share of the sampled negatives that belong to
      the anchor's instance, which is the strongest query in the same image;
      all background pixels count as one instance;
    * ``contrast/fnr_gt``: the same share by the annotated objects, for
      anchors on labelled images.

    Args:
        interval (int): Number of iterations between two logs. Defaults to 50.

    Raises:
        ValueError: if ``interval`` < 1.

    Example:
        >>> HOOKS.build(dict(type='ContrastiveDiagnosticsHook')).interval
        50
    """

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'interval must be >= 1, got {interval}')
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Look up the contrastive loss of the model.

        Args:
            runner (Runner): Runner of the training.
        """
        model = unwrapped_model(runner)
        self._loss: PixelContrastiveLoss | None = getattr(
            model, 'loss_contrast', None
        )

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
    ) -> None:
        """Request statistics from the loss every ``interval`` iterations.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
        """
        if self._loss is not None:
            self._loss.keep_statistics = self.every_n_train_iters(
                runner, self.interval
            )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Log the statistics of this iteration.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Not used.
        """
        if self._loss is None:
            return
        for name, value in self._loss.statistics.items():
            runner.message_hub.update_scalar(
                f'train/contrast/{name}', value.item()
            )
        self._loss.statistics = {}
        self._loss.keep_statistics = False
