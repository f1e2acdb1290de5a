# SPDX-License-Identifier: Apache-2.0
"""Structural distillation of S4M."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn


def similarity_rows(
    features: Tensor, index: Tensor, grid_size: tuple[int, int]
) -> Tensor:
    """Compute rows of the self-similarity ``C = F F^T / (|F||F^T|)``.

    Args:
        features (Tensor): (B, C, h, w) feature map F, which is resized
            bilinearly to the grid.
        index (Tensor): (B, P) int64 index of each row's token.
        grid_size (tuple[int, int]): (gh, gw) of the grid of tokens.

    Returns:
        Tensor: (B, P, gh * gw) fp32 cosines.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = F.interpolate(
            features.float(), grid_size, mode='bilinear', align_corners=False
        )
        tokens = F.normalize(features.flatten(2), dim=1)
        query = tokens.gather(
            2, index[:, None].expand(-1, tokens.shape[1], -1)
        )
        return query.transpose(1, 2) @ tokens


@MODELS.register_module()
class StructuralDistillationLoss(nn.Module):
    """SmoothL1 between two sets of similarity rows.

    The loss of structural distillation in `S4M
    <https://arxiv.org/abs/2504.05301>`_, averaged over rows and tokens.

    Args:
        beta (float): Difference at which SmoothL1 turns from squared to
            absolute. Defaults to 1.
        loss_weight (float): Weight of the loss. Defaults to 1.

    Raises:
        ValueError: if ``beta`` is not positive.

    Example:
        >>> loss = StructuralDistillationLoss()
        >>> loss(torch.zeros(1, 2, 4), torch.ones(1, 2, 4))
        tensor(0.5000)
    """

    def __init__(self, beta: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f'beta must be > 0, got {beta}')
        self.beta = beta
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compare two sets of rows in fp32.

        Args:
            pred (Tensor): (B, P, L) similarity rows of the detector.
            target (Tensor): (B, P, L) similarity rows of the segmenter.

        Returns:
            Tensor: The weighted loss, a scalar.
        """
        loss = F.smooth_l1_loss(pred.float(), target.float(), beta=self.beta)
        return self.loss_weight * loss
