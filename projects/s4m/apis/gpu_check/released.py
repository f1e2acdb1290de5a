# SPDX-License-Identifier: Apache-2.0
"""A training step as the released code of S4M makes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import MethodType
from typing import Any
from unittest import mock

import torch
from mmdet.models.dense_heads import MaskFormerHead
from mmdet.utils import InstanceList
from mmengine.model import BaseModel
from torch import Tensor

from s4m.models.promptable.sam2_precision import cast_products
from s4m.structures import replace_fields

from .networks import TrainingStep


class OneByOne:
    """Refines pseudo-labels with sam2's own predictor, one after the other.

    Images pass through the host, one encoder call each; a mask is one decoder
    call, whose result returns to the host, in fp32.

    Args:
        refiner (nn.Module): ``PseudoLabelRefiner``, whose segmenter is used.
        step (TrainingStep): Names the phases.
    """

    def __init__(self, refiner: Any, step: TrainingStep) -> None:
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        model = refiner.segmenter_on(step.device).model
        cast_products(model, torch.float32)
        self.refiner = refiner
        self.predictor: Any = SAM2ImagePredictor(model)
        side = model.image_size
        self.predictor._bb_feat_sizes = [
            (side // stride, side // stride) for stride in (4, 8, 16)
        ]
        step.phases.wrap(self.predictor, 'set_image', 'SAM encoder')
        step.phases.wrap(self.predictor, 'predict', 'SAM decoder')

    @torch.no_grad()
    def __call__(self, rgb: Tensor, instances: InstanceList) -> InstanceList:
        """Refine as ``PseudoLabelRefiner.forward`` does."""
        with torch.autocast(rgb.device.type, enabled=False):
            return [
                self._refine(image, item)
                for image, item in zip(rgb, instances, strict=True)
            ]

    def _refine(self, image: Tensor, item: Any) -> Any:
        size = tuple(image.shape[-2:])
        pixels = image.permute(1, 2, 0).clamp(0, 255).byte().cpu().numpy()
        self.predictor.set_image(pixels)
        masks = [self._segment(mask, size) for mask in item.mask_logits]
        if masks:
            made = torch.stack(masks)
        else:
            made = torch.zeros(0, *size, dtype=torch.bool, device=image.device)
        ones = torch.ones_like(item.scores)
        return replace_fields(
            item, masks=made, refine_iou=ones, refined=ones > 0
        )

    def _segment(self, logits: Tensor, size: tuple[int, ...]) -> Tensor:
        weights = logits.float().flatten().softmax(0)
        index = torch.multinomial(weights, self.refiner.points_per_mask)
        height, width = logits.shape
        points = torch.stack([index % width, index // width], 1).float()
        points[:, 0] *= size[1] / width
        points[:, 1] *= size[0] / height
        masks, scores, _ = self.predictor.predict(
            point_coords=points.cpu().numpy(),
            point_labels=torch.ones(len(points), dtype=torch.int).numpy(),
            multimask_output=True,
        )
        best = torch.from_numpy(masks[scores.argmax()] > 0)
        return best.to(logits.device)


def _update_one_by_one(teacher: Any) -> None:
    """Move the teacher tensor by tensor."""
    averaged, sources, copied, others = teacher.hook._tensors
    keep = 1 - teacher.hook.momentum
    with torch.no_grad():
        for target, source in zip(averaged, sources, strict=True):
            target.copy_(target * keep + source * (1 - keep))
        for target, source in zip(copied, others, strict=True):
            target.copy_(source)


@contextlib.contextmanager
def as_released(step: TrainingStep) -> Iterator[None]:
    """Train as the released code does while the block runs.

    SAM 2 runs in fp32, one image and one mask at a time; each decoder layer
    and image is matched by itself, by MMDetection's head, which is
    Mask2Former's; the losses on both kinds of images have one backward pass;
    the teacher is moved tensor by tensor. The networks are the same, with
    this project's fused attention.

    Args:
        step (TrainingStep): Step of a ``SemiInstanceSegmentor``.
    """
    model = step.model
    with contextlib.ExitStack() as stack:

        def put(owner: Any, name: str, value: Any, phase: str) -> None:
            # Not through nn.Module, which would register it.
            values = vars(owner)
            before = values.get(name)
            stack.callback(_restore, values, name, before)
            values[name] = value
            step.phases.wrap(owner, name, phase)

        head = step.network.panoptic_head
        put(
            head,
            'loss_by_feat',
            MethodType(MaskFormerHead.loss_by_feat, head),
            'matching and losses',
        )
        if model.refiner is not None:
            put(
                model.refiner,
                'forward',
                OneByOne(model.refiner, step),
                'refinement without SAM',
            )
        put(
            step.teacher,
            'update',
            lambda: _update_one_by_one(step.teacher),
            'EMA',
        )
        stack.enter_context(
            mock.patch.object(
                step, 'train_step', MethodType(BaseModel.train_step, model)
            )
        )
        yield


def _restore(values: dict, name: str, before: Any) -> None:
    if before is None:
        values.pop(name, None)
    else:
        values[name] = before
