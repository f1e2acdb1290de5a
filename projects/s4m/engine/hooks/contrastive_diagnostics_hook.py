# SPDX-License-Identifier: Apache-2.0
"""The margin and the false-negative rate of the contrastive loss."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from s4m.models.losses import PixelContrastiveLoss


@HOOKS.register_module()
class ContrastiveDiagnosticsHook(Hook):
    """Logs the contrast margin and the false-negative rate.

    Both are quantities of SSKD, Proposition 3.1.

    Every ``interval`` iterations, to the log and the visualiser backends:

    * ``contrast/margin``: mean cosine of the positive pairs minus that of
      the sampled negative ones;
    * ``contrast/fnr_pred``: share of the sampled negatives that belong to the
      anchor's instance, by the strongest query in the same image, pixels
      of no object being one instance;
    * ``contrast/fnr_gt``: the same by the annotated objects, for anchors on
      labelled images.

    Args:
        interval (int): Iterations between two logs. Defaults to 50.

    Raises:
        ValueError: if ``interval`` < 1, or the model has no ``loss_contrast``.
    """

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'interval must be >= 1, got {interval}')
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Find the loss."""
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        loss = getattr(model, 'loss_contrast', None)
        if loss is None:
            raise ValueError(
                'ContrastiveDiagnosticsHook: the model has no loss_contrast; '
                "set model.loss_contrast=dict(type='PixelContrastiveLoss', "
                '...) or drop the hook.'
            )
        self._loss: PixelContrastiveLoss = loss

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None
    ) -> None:
        """Ask for the statistics of this iteration, if it is its turn."""
        self._loss.keep_statistics = self.every_n_train_iters(
            runner, self.interval
        )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Log them."""
        for name, value in self._loss.statistics.items():
            runner.message_hub.update_scalar(
                f'train/contrast/{name}', value.item()
            )
        self._loss.statistics = {}
        self._loss.keep_statistics = False
