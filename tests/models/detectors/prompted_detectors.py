# SPDX-License-Identifier: Apache-2.0
"""SSKD's nano teacher, its input, boxes and losses."""

from __future__ import annotations

import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn


def teacher_config(adapt: bool = False) -> ConfigDict:
    """The nano teacher; ``adapt`` for stage 1a."""
    stage = 'adapt' if adapt else 'supervised'
    path = f'configs/sskd/sskd_teacher_{stage}_shapes_5p.py'
    return Config.fromfile(ROOT / path).model


def build_model(cfg: ConfigDict) -> nn.Module:
    """The model with its first weights, the same in every call."""
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


def make_sample(size: tuple[int, int] = (64, 128), **meta) -> DetDataSample:
    """A padded image of two objects; ``meta`` changes its metainfo."""
    masks = torch.zeros(2, *size, dtype=torch.uint8)
    masks[0, 10:40, 10:50] = masks[1, 20:60, 70:110] = 1
    boxes = torch.tensor([[10.0, 10, 50, 40], [70, 20, 110, 60]])
    meta = (
        dict(
            img_shape=size,
            ori_shape=size,
            pad_shape=size,
            batch_input_shape=size,
            scale_factor=(1.0, 1.0),
        )
        | meta
    )
    return DetDataSample(
        metainfo=meta,
        gt_instances=InstanceData(
            labels=torch.tensor([2, 4]),
            bboxes=boxes,
            masks=BitmapMasks(masks.numpy(), *size),
        ),
        ignored_instances=InstanceData(
            labels=torch.zeros(0, dtype=torch.long), bboxes=torch.zeros(0, 4)
        ),
    )


def plant_boxes(
    model: nn.Module,
    boxes: list[list[float]],
    scores: list[float],
    labels: list[int],
) -> None:
    """Let the detector predict these boxes on the padded image."""

    def predict(inputs, samples, rescale):
        assert not rescale
        for sample in samples:
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(boxes).view(-1, 4),
                scores=torch.tensor(scores),
                labels=torch.tensor(labels, dtype=torch.long),
            )
        return samples

    model.detector.predict = predict


def training_losses(
    model: nn.Module, branches: tuple[str, ...] = ('sup',)
) -> dict[str, Tensor]:
    """Losses of two random images a branch."""
    torch.manual_seed(1)
    inputs = {b: torch.rand(2, 3, 64, 128) * 255 for b in branches}
    samples = {b: [make_sample(), make_sample()] for b in branches}
    model.train()
    return model(inputs, samples, mode='loss')
