# SPDX-License-Identifier: Apache-2.0
"""Strong colour augmentation of the student's view."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

#: Probability, share of the area and aspect ratio of each erasing.
_CUTOUT = (
    (0.7, (0.05, 0.2), (0.3, 3.3)),
    (0.5, (0.02, 0.2), (0.1, 6.0)),
    (0.3, (0.02, 0.2), (0.05, 8.0)),
)


class _GaussianBlur(nn.Module):
    """torchvision's Gaussian blur with a kernel that fits into small images.

    The border is reflected, so half of the kernel has to be shorter than the
    image; torchvision raises an error for smaller images.

    Args:
        kernel_size (int): Side of the kernel in pixels.
        sigma (tuple[float, float]): Range of the standard deviation in
            pixels.
    """

    def __init__(self, kernel_size: int, sigma: tuple[float, float]) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.sigma = sigma

    def forward(self, image: Tensor) -> Tensor:
        """Blur one (3, H, W) image."""
        height, width = image.shape[-2:]
        kernel = [
            min(self.kernel_size, 2 * side - 1) for side in (width, height)
        ]
        sigma = torch.empty(1).uniform_(*self.sigma).item()
        return F.gaussian_blur(image, kernel, [sigma, sigma])


@MODELS.register_module()
class StrongAugment(nn.Module):
    """Colour jitter, grayscale and blur of each image, on its device.

    The strong augmentation of `Guided Distillation
    <https://arxiv.org/abs/2308.02668>`_ and S4M, which changes neither
    geometry nor padding. The parameters of each image are drawn
    independently. With ``cutout`` up to three random rectangles are filled
    with noise at the end, which hurt in the paper (Figure 6).

    Args:
        brightness (float): Range of the brightness in torchvision's
            ``ColorJitter``. Defaults to 0.4.
        contrast (float): Range of the contrast. Defaults to 0.4.
        saturation (float): Range of the saturation. Defaults to 0.4.
        hue (float): Range of the hue. Defaults to 0.1.
        jitter_prob (float): Probability of the jitter. Defaults to 0.8.
        gray_prob (float): Probability of grayscale. Defaults to 0.2.
        blur_sigma (tuple[float, float]): Range of the blur's standard
            deviation in pixels. Defaults to (0.1, 2).
        blur_prob (float): Probability of the blur. Defaults to 0.5.
        cutout (bool): Whether rectangles are erased, with probabilities 0.7,
            0.5 and 0.3. Defaults to False.

    Raises:
        ValueError: if a probability is out of range.

    Example:
        >>> augment = StrongAugment(jitter_prob=0, gray_prob=1, blur_prob=0)
        >>> red, green, blue = augment(torch.rand(1, 3, 8, 8) * 255)[0]
        >>> bool((red == green).all() and (green == blue).all())
        True
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
        # The kernel extends over three standard deviations to each side.
        kernel = 2 * round(3 * blur_sigma[1]) + 1
        blur = _GaussianBlur(kernel, (blur_sigma[0], blur_sigma[1]))
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
    def forward(
        self, rgb: Tensor, sizes: Sequence[tuple[int, int]] | None = None
    ) -> Tensor:
        """Augment images without their padding.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.
            sizes (Sequence[tuple[int, int]], optional): Valid (h, w) of each
                padded image. The padding does not change, and it affects
                neither the blur nor the mean grey of the contrast. Defaults
                to images without padding.

        Returns:
            Tensor: (B, 3, H, W) new pixels.
        """
        if sizes is None:
            sizes = [(rgb.shape[-2], rgb.shape[-1])] * len(rgb)
        out = rgb.clone()
        for image, (height, width) in zip(out, sizes, strict=True):
            image = image[:, :height, :width]
            pixels = self.transform(image.clamp(0, 255) / 255)
            if self.cutout:  # The noise exceeds 0..1.
                pixels = pixels.clamp(0, 1)
            image.copy_(pixels * 255)
        return out


def valid_sizes(
    batch_data_samples: SampleList,
    instances: InstanceList,
    image_size: tuple[int, int],
) -> list[tuple[int, int]]:
    """Compute the valid sizes of padded images after copy-paste.

    An instance that was pasted into the padding enlarges the valid size.

    Args:
        batch_data_samples (list[DetDataSample]): Samples with ``img_shape``.
        instances (list[InstanceData]): Pseudo-labels, after copy-paste with
            ``pasted`` (n, ) bool and ``masks`` (n, H, W).
        image_size (tuple[int, int]): (H, W) of the padded images.

    Returns:
        list[tuple[int, int]]: Valid (h, w) of each image.
    """
    sizes = [tuple(sample.img_shape[:2]) for sample in batch_data_samples]
    padded = [
        i
        for i, (size, item) in enumerate(zip(sizes, instances, strict=True))
        if size != image_size and 'pasted' in item
    ]
    ends = []
    for i in padded:
        masks, pasted = instances[i].masks, instances[i].pasted
        union = (masks & pasted[:, None, None]).any(0)
        # One past the last row and column, 0 where nothing was pasted.
        ends += [
            (axis * torch.arange(1, 1 + len(axis), device=axis.device)).max()
            for axis in (union.any(1), union.any(0))
        ]
    if ends:
        # The host waits once for all images.
        last = torch.stack(ends).view(-1, 2).tolist()
        for i, (height, width) in zip(padded, last, strict=True):
            sizes[i] = max(sizes[i][0], height), max(sizes[i][1], width)
    return sizes
