# SPDX-License-Identifier: Apache-2.0
"""Compare a Guided Distillation step with plain Mask2Former steps.

Both train on the same 4 + 4 images and the same labels. MMDet's plain
Mask2Former is timed together with a forward pass of a teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import InstanceData
from s4m.apis.config import get_config
from s4m.structures.masks import resize_masks
from s4m.utils.timing import measure
from torch import Tensor

_BRANCHES = ('sup', 'unsup_teacher', 'unsup_student')


def compare(
    gd_config: str | Path,
    size: tuple[int, int],
    repeats: int,
    device: str,
    **_,
) -> dict[str, dict[str, float]]:
    """Measure times and memory by the name of the variant.

    Args:
        gd_config (str | Path): Config of Guided Distillation, by path or by
            name.
        size (tuple[int, int]): (H, W) of the images.
        repeats (int): Number of turns.
        device (str): Device of the networks.
    """
    cfg = get_config(gd_config)
    cfg.model.detector.backbone.init_cfg = None
    # A random teacher has low scores, so every query with a class counts.
    cfg.model.pseudo_labeler.cls_thr = 0.0
    semi = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device).train()
    semi.unsup_weight = 2.0  # the mean-teacher hook sets it in training
    plain_cfg = cfg.model.detector
    plain_cfg.panoptic_head.type = 'Mask2FormerHead'
    plain_cfg.panoptic_head.pixel_decoder.type = 'MSDeformAttnPixelDecoder'
    plain = revert_sync_batchnorm(MODELS.build(plain_cfg)).to(device).train()
    plain.load_state_dict(semi.student.state_dict())

    pixels = {
        branch: torch.rand(4, 3, *size, device=device) * 255
        for branch in _BRANCHES
    }
    labeled = []
    for _i in range(4):
        masks = torch.zeros(10, *size, dtype=torch.bool, device=device)
        for k, mask in enumerate(masks):
            mask[k * size[0] // 12 :, k * size[1] // 12 :] = True
        labeled.append(_sample(torch.arange(10, device=device) % 8, masks))

    def samples() -> dict[str, list[DetDataSample]]:
        empty = torch.zeros(0, *size, dtype=torch.bool)
        none = torch.zeros(0, dtype=torch.long, device=device)
        blank = {
            branch: [_sample(none, empty) for _i in range(4)]
            for branch in _BRANCHES
        }
        return blank | dict(sup=labeled)

    branch = 'unsup_teacher'
    steps = semi.pseudo_label(
        {branch: pixels[branch]}, {branch: samples()[branch]}
    )
    known = [
        _sample(item.labels, resize_masks(item.masks, size))
        for item in steps.teacher
    ]
    num_pseudo = sum(len(item) for item in steps.teacher) / 4
    normalize = semi.data_preprocessor.normalize
    optimizers = [
        torch.optim.AdamW(net.parameters(), 1e-9)
        for net in (semi.student, plain)
    ]

    def train(optimizer, *losses: Callable[[], dict]) -> None:
        for part in losses:
            semi.parse_losses(part())[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    def guided() -> None:
        batch = samples()
        train(optimizers[0], lambda: semi.loss(pixels, batch))

    def plain_steps() -> None:
        with torch.no_grad():
            semi.teacher(
                normalize(pixels[branch]), samples()[branch], mode='tensor'
            )
        train(
            optimizers[1],
            lambda: plain.loss(normalize(pixels['sup']), labeled),
            lambda: plain.loss(normalize(pixels['unsup_student']), known),
        )

    return measure(
        {
            f'Guided Distillation step ({num_pseudo:.0f} pseudo-labels an '
            'image)': guided,
            'Mask2Former steps and a teacher forward': plain_steps,
        },
        repeats,
    )


def _sample(labels: Tensor, masks: Tensor) -> DetDataSample:
    """Make a sample with (n, H, W) bool masks, as a data loader does."""
    size = tuple(masks.shape[-2:])
    out = DetDataSample()
    out.set_metainfo(
        dict(img_shape=size, batch_input_shape=size, pad_shape=size)
    )
    out.gt_instances = InstanceData(
        labels=labels, masks=BitmapMasks(masks.byte().cpu().numpy(), *size)
    )
    return out
