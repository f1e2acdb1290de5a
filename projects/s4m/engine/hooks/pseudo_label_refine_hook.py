# SPDX-License-Identifier: Apache-2.0
"""Gives the refiner its segmenter, and shows what refinement changes."""

from __future__ import annotations

import numpy as np
import torch
from mmdet.registry import HOOKS, MODELS
from mmdet.utils import InstanceList
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from s4m.models.promptable import attach_segmenter, detach_segmenter
from s4m.structures.masks import upsample_masks


@HOOKS.register_module()
class PseudoLabelRefineHook(Hook):
    """Attaches the segmenter of a ``PseudoLabelRefiner`` during training.

    Before training the segmenter is built from the refiner's config and
    attached; after it, detached, so that no checkpoint, no evaluation and no
    export ever holds it. Logged are ``refine_iou``, the mean IoU between the
    teacher's masks and the segmenter's, and ``refine_kept``, the share of
    pseudo-labels that took the segmenter's mask.

    Args:
        draw_interval (int): Every so many iterations one picture of the
            teacher's masks beside the refined ones, of the image with the
            most of the batch, goes to the visualiser backends. 0 draws
            nothing.
    """

    def __init__(self, draw_interval: int = 0) -> None:
        if draw_interval < 0:
            raise ValueError(f'draw_interval must be >= 0: {draw_interval}')
        self.draw_interval = draw_interval

    def before_train(self, runner: Runner) -> None:
        """Build and attach the segmenter."""
        model = runner.model
        self._model = model.module if is_model_wrapper(model) else model
        refiner = getattr(self._model, 'refiner', None)
        if refiner is None:
            raise ValueError(
                'PseudoLabelRefineHook: the model has no refiner; set '
                "model.refiner=dict(type='PseudoLabelRefiner', ...) or drop "
                'the hook.'
            )
        attach_segmenter(refiner, MODELS.build(refiner.segmenter_cfg))
        self._model.pseudo_label_listeners.append(self._record)
        self._model.hook_ready(type(self).__name__)
        self._latest: tuple[Tensor, InstanceList] | None = None

    def after_train(self, runner: Runner) -> None:
        """Detach the segmenter."""
        detach_segmenter(self._model.refiner)
        self._model.pseudo_label_listeners.remove(self._record)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Log the figures and, at times, draw."""
        if self._latest is None:
            return
        rgb, instances = self._latest
        iou = torch.cat([item.refine_iou for item in instances])
        if len(iou):
            kept = torch.cat([item.refined for item in instances])
            hub = runner.message_hub
            hub.update_scalar('train/refine_iou', iou.mean().item())
            hub.update_scalar('train/refine_kept', kept.float().mean().item())
        if self.draw_interval and self.every_n_train_iters(
            runner, self.draw_interval
        ):
            self._draw(runner, rgb, instances)
        self._latest = None

    def _record(self, rgb: Tensor, instances: InstanceList) -> None:
        self._latest = rgb, instances

    def _draw(
        self, runner: Runner, rgb: Tensor, instances: InstanceList
    ) -> None:
        """Teacher's masks | refined masks of the image with the most."""
        chosen = max(range(len(instances)), key=lambda i: len(instances[i]))
        item, image = instances[chosen], rgb[chosen].clamp(0, 255).byte()
        image = image.permute(1, 2, 0).cpu().numpy()
        panels = []
        for masks in (
            upsample_masks(item.mask_logits, tuple(rgb.shape[-2:])),
            item.masks,
        ):
            visualizer = runner.visualizer
            visualizer.set_image(image)
            if len(masks):
                visualizer.draw_binary_masks(
                    masks.cpu().numpy(), colors=_colors(len(masks)), alphas=0.6
                )
            panels.append(visualizer.get_image())
        runner.visualizer.add_image(
            'pseudo_labels', np.concatenate(panels, 1), step=runner.iter + 1
        )


def _colors(num: int) -> list[tuple[int, int, int]]:
    """Colours that the eye tells apart, the same for the same place."""
    hues = (np.arange(num) * 0.618) % 1.0
    wheel = np.stack(
        [np.abs(((hues * 6 + k) % 6) - 3) - 1 for k in (0, 4, 2)], 1
    )
    return [tuple(c) for c in (wheel.clip(0, 1) * 255).astype(int).tolist()]
