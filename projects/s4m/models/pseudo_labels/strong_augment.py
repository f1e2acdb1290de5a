# SPDX-License-Identifier: Apache-2.0
"""Strong colour augmentation of the student's view."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torchvision.transforms import v2

#: Probability, share of the area and aspect ratio of each erasing.
_CUTOUT = (
    (0.7, (0.05, 0.2), (0.3, 3.3)),
    (0.5, (0.02, 0.2), (0.1, 6.0)),
    (0.3, (0.02, 0.2), (0.05, 8.0)),
)


@MODELS.register_module()
class StrongAugment(nn.Module):
    """Colour jitter, grayscale and blur on the device, per image.

    `Guided Distillation <https://arxiv.org/abs/2308.02668>`_ and S4M: no
    geometry, no erasing. torchvision's transforms draw the parameters of each
    image independently. With ``cutout`` three random rectangles are filled
    with noise after that, which the paper found to hurt (Figure 6).

    Args:
        brightness, contrast, saturation, hue (float): ColorJitter's.
        jitter_prob (float): Probability of the jitter.
        gray_prob (float): Probability of grayscale.
        blur_sigma (tuple[float, float]): Range of the blur, in pixels.
        blur_prob (float): Probability of the blur.
        cutout (bool): Erase rectangles, with probabilities 0.7, 0.5 and 0.3.
    """

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_sigma: tuple[float, float] = (0.1, 2.0),
        blur_prob: float = 0.5,
        cutout: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (
            ('jitter_prob', jitter_prob),
            ('gray_prob', gray_prob),
            ('blur_prob', blur_prob),
        ):
            if not 0 <= value <= 1:
                raise ValueError(f'{name} must be in 0..1, got {value}')
        jitter = v2.ColorJitter(brightness, contrast, saturation, hue)
        # Three standard deviations to each side.
        kernel = 2 * round(3 * blur_sigma[1]) + 1
        blur = v2.GaussianBlur(kernel, tuple(blur_sigma))
        steps = [
            v2.RandomApply([jitter], jitter_prob),
            v2.RandomGrayscale(gray_prob),
            v2.RandomApply([blur], blur_prob),
        ]
        if cutout:
            steps += [
                v2.RandomErasing(prob, area, aspect, value='random')
                for prob, area, aspect in _CUTOUT
            ]
        self.cutout = cutout
        self.transform = v2.Compose(steps)

    @torch.no_grad()
    def forward(self, rgb: Tensor) -> Tensor:
        """Augment (B, 3, H, W) RGB in 0..255, returned as new pixels."""
        images = rgb.clamp(0, 255) / 255
        images = torch.stack([self.transform(image) for image in images])
        if self.cutout:  # noise leaves the range
            images = images.clamp(0, 1)
        return images * 255
