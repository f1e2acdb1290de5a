# SPDX-License-Identifier: Apache-2.0
"""Shows what pseudo-label refinement changes."""

from __future__ import annotations

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmdet.utils import InstanceList
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from s4m.structures.masks import spatial_size, upsample_masks
from s4m.utils.model_wrappers import unwrapped_model
from s4m.visualization import palette


@HOOKS.register_module()
class PseudoLabelRefineHook(Hook):
    """Hook that logs and draws the changes by pseudo-label refinement.

    The hook does not affect the training. It logs ``refine_iou``, the mean
    IoU between the teacher's masks and the refined ones, and ``refine_kept``,
    the share of pseudo-labels that took the segmenter's mask.

    Args:
        draw_interval (int): Number of iterations between two pictures, which
            go to the visualiser backends. A picture shows the teacher's masks
            beside the refined ones, on the image of the batch with the most
            pseudo-labels. Defaults to 0, which draws nothing.

    Raises:
        ValueError: if ``draw_interval`` is negative.

    Example:
        >>> cfg = dict(type='PseudoLabelRefineHook', draw_interval=1000)
        >>> HOOKS.build(cfg).draw_interval
        1000
    """

    def __init__(self, draw_interval: int = 0) -> None:
        if draw_interval < 0:
            raise ValueError(f'draw_interval must be >= 0: {draw_interval}')
        self.draw_interval = draw_interval

    def before_train(self, runner: Runner) -> None:
        """Start recording the refiner's inputs and outputs.

        Args:
            runner (Runner): Runner of the training. A model without a
                refiner, as in an ablation, has nothing to record.
        """
        model = unwrapped_model(runner)
        self._latest: tuple[Tensor, InstanceList, InstanceList] | None = None
        self._handle = None
        refiner = getattr(model, 'refiner', None)
        if refiner is not None:
            self._handle = refiner.register_forward_hook(self._record)

    def after_train(self, runner: Runner) -> None:
        """Stop recording the refiner's inputs and outputs.

        Args:
            runner (Runner): Runner of the training.
        """
        if self._handle is not None:
            self._handle.remove()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Log the two figures and, every ``draw_interval``, a picture.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Not used.
        """
        if self._latest is None:
            return
        refined = self._latest[2]
        iou = torch.cat([item.refine_iou for item in refined])
        if len(iou):
            replaced = torch.cat([item.refined for item in refined])
            hub = runner.message_hub
            hub.update_scalar('train/refine_iou', iou.mean().item())
            share = replaced.float().mean().item()
            hub.update_scalar('train/refine_kept', share)
        if self.draw_interval and self.every_n_train_iters(
            runner, self.draw_interval
        ):
            self._draw(runner, *self._latest)
        self._latest = None

    def _record(
        self,
        refiner: nn.Module,
        args: tuple[Tensor, InstanceList],
        refined: InstanceList,
    ) -> None:
        # A validation, in eval mode, may label images as well.
        if refiner.training:
            self._latest = (*args, refined)

    def _draw(
        self,
        runner: Runner,
        rgb: Tensor,
        teacher: InstanceList,
        refined: InstanceList,
    ) -> None:
        """Draw the teacher's masks beside the refined ones of one image."""
        chosen = max(range(len(teacher)), key=lambda i: len(teacher[i]))
        pixels = rgb[chosen].clamp(0, 255).byte()
        image = pixels.permute(1, 2, 0).cpu().numpy()
        panels = []
        for masks in (
            upsample_masks(teacher[chosen].mask_logits, spatial_size(rgb)),
            refined[chosen].masks,
        ):
            visualizer = runner.visualizer
            visualizer.set_image(image)
            if len(masks):
                visualizer.draw_binary_masks(
                    masks.cpu().numpy(), colors=palette(len(masks)), alphas=0.6
                )
            panels.append(visualizer.get_image())
        runner.visualizer.add_image(
            'pseudo_labels', np.concatenate(panels, 1), step=runner.iter + 1
        )
