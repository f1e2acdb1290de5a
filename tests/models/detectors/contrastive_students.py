# SPDX-License-Identifier: Apache-2.0
"""SSKD's nano student and its input."""

from __future__ import annotations

import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

CONTRAST = dict(type='PixelContrastiveLoss', in_channels=128, num_negatives=8)

OFF = dict(loss_contrast=None, strong_augment=None)


def build_student(**changes) -> nn.Module:
    """A nano student with changes of its config."""
    model = Config.fromfile(
        ROOT / 'configs/_base_/models/mask2former_vit_nano.py'
    ).model
    model.type = 'ContrastiveMask2Former'
    model.data_preprocessor.type = 'SemiDataPreprocessor'
    model.loss_contrast = CONTRAST
    model.strong_augment = dict(type='StrongAugment')
    model.update(changes)
    torch.manual_seed(0)
    net = MODELS.build(model)
    net.init_weights()
    return net


def make_sample(
    size: tuple[int, int] = (64, 64), shape: tuple[int, int] | None = None
) -> DetDataSample:
    """An image of two objects; ``shape`` is its size without padding."""
    masks = torch.zeros(2, *size, dtype=torch.uint8)
    masks[0, 8:30, 8:30] = masks[1, 34:60, 20:60] = 1
    return DetDataSample(
        metainfo=dict(
            img_shape=shape or size, batch_input_shape=size, ori_shape=size
        ),
        gt_instances=InstanceData(
            labels=torch.tensor([1, 5]),
            masks=BitmapMasks(masks.numpy(), *size),
        ),
    )


def make_batch(
    branches: tuple[str, ...] = ('sup', 'unsup'), num: int = 2
) -> tuple[dict[str, Tensor], dict[str, list[DetDataSample]]]:
    """Random images of 64 x 64 pixels and their samples, by branch."""
    torch.manual_seed(1)
    inputs = {b: torch.rand(num, 3, 64, 64) * 255 for b in branches}
    return inputs, {b: [make_sample() for _ in range(num)] for b in branches}


def total_loss(losses: dict[str, Tensor]) -> Tensor:
    """The sum of all losses, as MMEngine forms it."""
    return sum(v for k, v in losses.items() if 'loss' in k)
