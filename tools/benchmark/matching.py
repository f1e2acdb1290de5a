# SPDX-License-Identifier: Apache-2.0
"""Compare matching and losses with MMDet's, 2 images of 20 objects."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from s4m.apis.config import get_config
from s4m.utils.timing import measure
from torch import nn

NUM_IMAGES, NUM_OBJECTS = 2, 20


def compare(
    size: tuple[int, int], repeats: int, device: str, gd_config: str, **_
) -> dict[str, dict[str, float]]:
    """Measure times and memory by the name of the variant.

    Args:
        size (tuple[int, int]): (H, W) of the images.
        repeats (int): Number of turns.
        device (str): Device of the predictions.
        gd_config (str): Config whose student has a Mask2Former head.
    """
    detector = get_config(gd_config).model.detector
    cfg = dict(
        detector.panoptic_head,
        train_cfg=detector.train_cfg,
        test_cfg=detector.test_cfg,
    )
    head = MODELS.build(cfg).to(device)
    stock = MODELS.build(dict(cfg, type='Mask2FormerHead')).to(device)
    layers = head.num_transformer_decoder_layers + 1
    height, width = size
    objects = [
        InstanceData(
            labels=torch.randint(
                head.num_classes, (NUM_OBJECTS,), device=device
            ),
            masks=torch.rand(NUM_OBJECTS, height, width, device=device) > 0.5,
        )
        for _ in range(NUM_IMAGES)
    ]
    metas = [dict(img_shape=size)] * NUM_IMAGES
    queries = NUM_IMAGES, head.num_queries
    scores = torch.randn(layers, *queries, head.num_classes + 1, device=device)
    masks = torch.randn(
        layers, *queries, height // 4, width // 4, device=device
    )

    def call(kind: nn.Module) -> Callable[[], object]:
        def run() -> None:
            leaves = [
                [layer.clone().requires_grad_() for layer in outputs]
                for outputs in (scores, masks)
            ]
            losses = kind.loss_by_feat(*leaves, objects, metas)
            sum(v.sum() for v in losses.values()).backward()

        return run

    return measure(
        {
            'all layers and images at once': call(head),
            "MMDetection's loop": call(stock),
        },
        repeats,
    )
