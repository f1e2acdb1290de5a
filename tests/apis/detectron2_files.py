# SPDX-License-Identifier: Apache-2.0
"""Files in detectron2's layout, of a small Mask2Former."""

from __future__ import annotations

from pathlib import Path

import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from s4m.apis import detectron2_keys as keys


def small_mask2former(swin: bool = False) -> torch.nn.Module:
    """A Mask2Former of few channels in MMDetection's classes."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/mask2former_nano.py')
    model = cfg.model
    model.init_cfg = None
    head = model.panoptic_head
    head.type = 'Mask2FormerHead'
    head.pixel_decoder.type = 'MSDeformAttnPixelDecoder'
    head.pixel_decoder.norm_cfg = dict(type='GN', num_groups=32)
    if swin:
        model.backbone = dict(
            type='SwinTransformer',
            embed_dims=16,
            depths=[1, 2, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            convert_weights=False,
        )
        head.in_channels = [16, 32, 64, 128]
    else:
        model.backbone.update(depth=50, base_channels=8, stem_channels=8)
        head.in_channels = [32, 64, 128, 256]
    torch.manual_seed(0)
    net = revert_sync_batchnorm(MODELS.build(model)).eval()
    net.init_weights()
    for name, buffer in net.named_buffers():
        if 'running' in name:
            buffer.uniform_(0.5, 1.5)
    return net


def predict(
    net: torch.nn.Module, image: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Class and mask logits of the last decoder layer."""
    with torch.no_grad():
        cls, masks = net(image, [DetDataSample()], mode='tensor')
    return cls[-1], masks[-1]


def save(path: Path, model: dict, **others) -> Path:
    """Write weights as detectron2 does; return the path."""
    torch.save(dict(model=model, **others), path)
    return path


def released(
    tmp_path: Path, swin: bool = False
) -> tuple[Path, dict, torch.nn.Module]:
    """A file as S4M's: student and teacher, and buffers of the losses.

    The state that it holds and the student are returned with it.
    """
    net = small_mask2former(swin)
    own = keys.to_detectron2(net.state_dict())
    own['criterion.empty_weight'] = torch.tensor([1.0] * 8 + [0.3])
    own['ssl_criterion.empty_weight'] = torch.ones(9)
    teacher = {
        k: v + 1 if v.is_floating_point() else v for k, v in own.items()
    }
    state = {f'modelStudent.{k}': v for k, v in own.items()}
    state |= {f'modelTeacher.{k}': v for k, v in teacher.items()}
    return save(tmp_path / 'released.pth', state, iteration=9), state, net
