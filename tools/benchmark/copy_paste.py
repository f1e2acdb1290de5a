# SPDX-License-Identifier: Apache-2.0
"""Compare vectorised ARP of 20 masks into 20 masks with a loop."""

from __future__ import annotations

import torch
from mmengine.structures import InstanceData
from s4m.models import RefinedCopyPaste
from s4m.utils.timing import measure


def compare(
    size: tuple[int, int], repeats: int, device: str, **_
) -> dict[str, dict[str, float]]:
    """Measure times and memory by the name of the variant.

    Args:
        size (tuple[int, int]): (H, W) of the images.
        repeats (int): Number of turns.
        device (str): Device of the images.
    """
    rgb = torch.rand(2, 3, *size, device=device)
    # Cityscapes' 3000 pixels are scaled to this size.
    min_area = 3000 * size[0] * size[1] / (512 * 1024)
    items = []
    for _i in range(2):
        masks = torch.zeros(20, *size, dtype=torch.bool, device=device)
        for mask in masks:
            y = int(torch.randint(size[0] * 3 // 4, ()))
            x = int(torch.randint(size[1] * 3 // 4, ()))
            mask[y : y + size[0] // 4, x : x + size[1] // 4] = True
        labels = torch.zeros(20, dtype=torch.long, device=device)
        items.append(InstanceData(labels=labels, scores=labels, masks=masks))

    def loop() -> None:
        image = rgb[0].clone()
        layers = [m.clone() for m in items[0].masks]
        for mask in items[1].masks:
            if mask.sum() >= min_area:
                image[:, mask] = rgb[1][:, mask]
                layers.append(mask.clone())
        for i, mask in enumerate(layers):
            for later in layers[i + 1 :]:
                mask &= ~later

    static = RefinedCopyPaste('static', min_area)
    dynamic = RefinedCopyPaste('dynamic', min_area)
    pair = (rgb[0], items[0], rgb[1], items[1])
    return measure(
        {
            'vectorised, static': lambda: static.paste(*pair),
            'vectorised, dynamic': lambda: dynamic.paste(*pair),
            'loop, static': loop,
        },
        repeats,
    )
