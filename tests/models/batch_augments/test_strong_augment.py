# SPDX-License-Identifier: Apache-2.0
"""Strong augmentation: colours only, parameters per image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from s4m.models import StrongAugment
from torchvision.transforms import v2


def test_forward__off_is_the_identity():
    rgb = torch.rand(3, 3, 16, 16) * 255
    augment = StrongAugment(jitter_prob=0, gray_prob=0, blur_prob=0)
    torch.testing.assert_close(augment(rgb), rgb)


def test_forward__parameters_are_independent():
    """The same image four times comes out in four colours."""
    rgb = (torch.rand(1, 3, 16, 16) * 255).expand(4, -1, -1, -1)
    out = StrongAugment(jitter_prob=1, gray_prob=0, blur_prob=0)(rgb)
    for i in range(4):
        for j in range(i):
            assert (out[i] - out[j]).abs().max() > 1
    assert out.min() >= 0 and out.max() <= 255


def test_gray__channels_are_equal():
    out = StrongAugment(jitter_prob=0, gray_prob=1, blur_prob=0)(
        torch.rand(2, 3, 8, 8) * 255
    )
    torch.testing.assert_close(out[:, 0], out[:, 2])


def test_blur__equals_a_float64_gaussian():
    rgb = torch.rand(1, 3, 20, 20) * 255
    augment = StrongAugment(
        jitter_prob=0, gray_prob=0, blur_prob=1, blur_sigma=(1.5, 1.5)
    )
    x = torch.arange(-4, 5).double()
    kernel = torch.exp(-(x**2) / (2 * 1.5**2))
    kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
    padded = F.pad(rgb.double(), (4,) * 4, mode='reflect')
    want = F.conv2d(padded, kernel.expand(3, 1, 9, 9), groups=3)
    torch.testing.assert_close(augment(rgb).double(), want, atol=0.02, rtol=0)


def test_probabilities():
    """Share of images that each operation touches."""
    rgb = torch.rand(1, 3, 8, 8).expand(400, -1, -1, -1) * 255
    gray = StrongAugment(jitter_prob=0, blur_prob=0)(rgb)
    share = (gray[:, 0] == gray[:, 1]).flatten(1).all(1).float().mean()
    assert 0.13 < share < 0.27
    blurred = StrongAugment(jitter_prob=0, gray_prob=0)(rgb)
    share = ((blurred - rgb).abs() > 1e-3).flatten(1).any(1).float().mean()
    assert 0.4 < share < 0.6


def test_init__bad_value():
    with pytest.raises(ValueError, match='gray_prob'):
        StrongAugment(gray_prob=2)


def test_cutout__rectangles_of_noise_at_their_rate():
    """Nothing else is on: what differs was erased, and by how much."""
    torch.manual_seed(0)
    augment = StrongAugment(
        jitter_prob=0, gray_prob=0, blur_prob=0, cutout=True
    )
    rgb = torch.full((400, 3, 32, 32), 100.0)
    out = augment(rgb)
    assert out.min() >= 0 and out.max() <= 255
    erased = (out != 100).any(1).flatten(1).float().mean(1)
    untouched = (erased == 0).float().mean().item()
    # 0.3 * 0.5 * 0.7; four standard deviations of 400 draws.
    assert untouched == pytest.approx(0.105, abs=0.06)
    assert 0.02 < erased[erased > 0].min() and erased.max() < 0.6
    plain = StrongAugment(jitter_prob=0, gray_prob=0, blur_prob=0)
    torch.testing.assert_close(plain(rgb), rgb)


MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]


def _padded(image: torch.Tensor, size=(48, 64)) -> torch.Tensor:
    """An image in the upper left of a canvas of the mean pixel."""
    out = MEAN.expand(3, *size).clone()
    out[:, : image.shape[1], : image.shape[2]] = image
    return out


@pytest.mark.parametrize('sizes', [[(20, 30), (48, 64), (48, 9)]])
def test_sizes__equal_torchvision_without_the_padding(sizes):
    """The same draws on the image alone, and the padding as it was."""
    images = [torch.rand(3, *size) * 200 + 30 for size in sizes]
    batch = torch.stack([_padded(image) for image in images])
    augment = StrongAugment(jitter_prob=1, gray_prob=0.2, blur_prob=1)
    reference = v2.Compose(
        [
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 1.0),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(13, (0.1, 2.0))], 1.0),
        ]
    )
    before = batch.clone()
    for seed in range(5):
        torch.manual_seed(seed)
        found = augment(batch, sizes)
        torch.manual_seed(seed)
        for i, (image, (height, width)) in enumerate(
            zip(images, sizes, strict=True)
        ):
            want = _padded(reference(image / 255) * 255)
            torch.testing.assert_close(found[i], want, atol=1e-3, rtol=0)
            assert torch.equal(
                found[i, :, height:], batch[i, :, height:]
            ) and torch.equal(found[i, :, :, width:], batch[i, :, :, width:])
    assert torch.equal(batch, before)


def test_sizes__padding_does_not_matter():
    """Contrast and blur see the image, whatever lies around it."""
    image = torch.rand(3, 16, 16) * 60
    augment = StrongAugment(jitter_prob=1, gray_prob=0, blur_prob=1)
    found = []
    for value in (0.0, 255.0):
        canvas = torch.full((1, 3, 48, 48), value)
        canvas[0, :, :16, :16] = image
        torch.manual_seed(0)
        found.append(augment(canvas, [(16, 16)])[0, :, :16, :16])
    assert torch.equal(*found)


def test_sizes__images_of_a_few_pixels():
    """Large-scale jitter makes them; half of the kernel has 6 pixels."""
    augment = StrongAugment(jitter_prob=1, gray_prob=0, blur_prob=1)
    batch = torch.rand(2, 3, 32, 32) * 255
    out = augment(batch, [(3, 32), (1, 2)])
    assert torch.isfinite(out).all()
    assert torch.equal(out[0, :, 3:], batch[0, :, 3:])


def test_cutout__erases_the_image_only():
    augment = StrongAugment(
        jitter_prob=0, gray_prob=0, blur_prob=0, cutout=True
    )
    rgb = torch.full((100, 3, 32, 32), 100.0)
    out = augment(rgb, [(16, 32)] * 100)
    assert (out[:, :, 16:] == 100).all()
    assert (out[:, :, :16] != 100).any()
