# SPDX-License-Identifier: Apache-2.0
"""Compare the fused EMA of Mask2Former-R50 with a loop over tensors."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from mmdet.registry import MODELS
from s4m.apis.config import get_config
from s4m.engine.hooks import BurnInMeanTeacherHook
from s4m.utils.timing import measure


def compare(repeats: int, device: str, **_) -> dict[str, dict[str, float]]:
    """Measure times and memory by the name of the variant.

    Args:
        repeats (int): Number of turns.
        device (str): Device of the networks.
    """
    cfg = get_config('supervised_cityscapes_100p')
    cfg.model.backbone.init_cfg = None
    teacher, student = (MODELS.build(cfg.model).to(device) for _i in range(2))
    hook = BurnInMeanTeacherHook(burn_in=0)
    model = SimpleNamespace(
        teacher=teacher, student=student, teacher_checkpoint=None
    )
    hook.before_train(
        SimpleNamespace(model=model, iter=0, optim_wrapper=None, hooks=[hook])
    )

    @torch.no_grad()
    def loop() -> None:
        other = student.state_dict()
        for name, value in teacher.state_dict().items():
            if value.is_floating_point():
                value.mul_(1 - hook.momentum)
                value.add_(other[name], alpha=hook.momentum)
            else:
                value.copy_(other[name])

    return measure(
        {'fused': lambda: hook.update(hook.momentum), 'loop': loop}, repeats
    )
