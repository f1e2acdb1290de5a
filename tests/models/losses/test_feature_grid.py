# SPDX-License-Identifier: Apache-2.0
"""Maps at the centres of a grid, against bilinear resizing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from s4m.models.losses import FeatureGrid


def test_grid__of_equal_cells_is_a_bilinear_resize():
    masks = torch.randn(2, 3, 12, 20)
    for size in ((3, 4), (5, 7), (12, 20), (24, 30)):
        found = FeatureGrid.covering(size, (96, 40)).sample(masks)
        want = F.interpolate(masks, size, mode='bilinear', align_corners=False)
        torch.testing.assert_close(found, want, atol=1e-5, rtol=0)


def test_grid__centres_anywhere():
    """Maps of 4 x 6 for an image of 8 x 12: pixel y is at y / 2 - 0.5."""
    ramp = torch.arange(4.0)[:, None] + 10 * torch.arange(6.0)
    grid = FeatureGrid(
        torch.tensor([0.0, 3.0, 7.5, 11.0]), torch.tensor([1.0, 5.5]), (8, 12)
    )
    found = grid.sample(ramp[None, None])[0, 0]
    rows = torch.tensor([0.0, 1.0, 3.0, 3.0])  # the last two are clamped
    cols = torch.tensor([0.0, 2.25])
    torch.testing.assert_close(
        found, rows[:, None] + 10 * cols, atol=1e-5, rtol=0
    )
