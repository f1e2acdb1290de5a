# SPDX-License-Identifier: Apache-2.0
"""Strong augmentation: colours only, parameters per image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from s4m.models import StrongAugment


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
