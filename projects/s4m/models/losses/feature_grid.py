# SPDX-License-Identifier: Apache-2.0
"""Positions of a feature map in the padded image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class FeatureGrid:
    """Where the (h, w) positions of a feature map lie in a padded image.

    Attributes:
        rows (Tensor): (h, ) fp32 y coordinates of the centres in pixels; the
            first pixel spans 0 to 1.
        cols (Tensor): (w, ) fp32 x coordinates of the centres in pixels.
        image_size (tuple[int, int]): (H, W) of the padded image.

    Example:
        >>> FeatureGrid.covering((2, 4), (8, 8)).rows.tolist()
        [2.0, 6.0]
    """

    rows: Tensor
    cols: Tensor
    image_size: tuple[int, int]

    @classmethod
    def covering(
        cls,
        grid_size: tuple[int, int],
        image_size: tuple[int, int],
        device: torch.device | str = 'cpu',
    ) -> FeatureGrid:
        """Create the grid of equal cells that cover the padded image.

        Args:
            grid_size (tuple[int, int]): (h, w) of the feature map.
            image_size (tuple[int, int]): (H, W) of the padded image.
            device (torch.device | str): Device of the coordinates. Defaults
                to ``cpu``.

        Returns:
            FeatureGrid: The grid.
        """
        rows, cols = (
            (torch.arange(n, device=device) + 0.5) * (length / n)
            for n, length in zip(grid_size, image_size, strict=True)
        )
        return cls(rows, cols, image_size)

    def sample(self, maps: Tensor) -> Tensor:
        """Sample maps bilinearly at the grid's centres.

        For equal cells that cover the image, the result equals
        ``F.interpolate(maps, (h, w), mode='bilinear')``. Beyond the border
        the nearest value is repeated.

        Args:
            maps (Tensor): (B, K, H', W') maps that cover the padded image.

        Returns:
            Tensor: (B, K, h, w) fp32.
        """
        rows, cols = (
            2 * centre.float() / length - 1
            for centre, length in zip(
                (self.rows, self.cols), self.image_size, strict=True
            )
        )
        y, x = torch.meshgrid(rows, cols, indexing='ij')
        points = torch.stack([x, y], -1).to(maps.device)
        return F.grid_sample(
            maps.float(),
            points.expand(len(maps), -1, -1, -1),
            mode='bilinear',
            padding_mode='border',
            align_corners=False,
        )
