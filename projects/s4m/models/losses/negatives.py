# SPDX-License-Identifier: Apache-2.0
"""Instance-aware sampling of negatives for a pixel-wise contrastive loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .feature_grid import FeatureGrid

#: Which predictions tell candidates apart.
SAMPLINGS = ('uniform', 'mask', 'class', 'fusion')

# Equal descriptors differ by about 1e-7 through rounding; a pixel closer than
# this is not a negative.
_EPS = 1e-5


@dataclass
class PixelDescriptors:
    """Predictions at the N pixels of each of B images, for sampling.

    Attributes:
        queries (Tensor): (B, N, K) P_m, the share of each query in a pixel.
        classes (Tensor): (B, N, C + 1) F_c, the class of a pixel, "no
            object" last.
    """

    queries: Tensor
    classes: Tensor

    @property
    def instances(self) -> Tensor:
        """(B, N) int64 predicted instance: the strongest query.

        Pixels of no object are one instance, K.
        """
        background = self.classes.argmax(-1) == self.classes.shape[-1] - 1
        ids = self.queries.argmax(-1)
        return ids.masked_fill(background, self.queries.shape[-1])


@torch.no_grad()
def pixel_descriptors(
    mask_logits: Tensor,
    cls_logits: Tensor,
    grid: FeatureGrid,
    mask_temperature: float = 0.5,
) -> PixelDescriptors:
    """Fuse mask and class scores on a feature grid.

    ``P_m = softmax_k(mask logits / temperature)``, ``P_c = softmax(class
    logits)``, ``F_c[p, c] = sum_k P_m[k, p] P_c[k, c]``.

    Args:
        mask_logits (Tensor): (B, K, H', W') logits that cover the padded
            image, sampled bilinearly at the grid's centres.
        cls_logits (Tensor): (B, K, C + 1).
        grid (FeatureGrid): Centres of the (h, w) positions, N = h * w.
        mask_temperature (float): Temperature of the softmax over the
            queries. Defaults to 0.5.
    """
    masks = grid.sample(mask_logits)
    queries = (masks.flatten(2) / mask_temperature).softmax(1).transpose(1, 2)
    with torch.autocast(queries.device.type, enabled=False):
        classes = queries @ cls_logits.float().softmax(-1)
    return PixelDescriptors(queries, classes)


@torch.no_grad()
def draw_negatives(
    weights: Tensor, num_negatives: int
) -> tuple[Tensor, Tensor]:
    """Draw candidates without replacement, in proportion to their weights.

    The largest of ``weight / Exp(1)`` keys, which is Gumbel top-k: the first
    draw is proportional to the weights, later ones among what is left.

    Args:
        weights (Tensor): (A, M) weights of M candidates, at least 0.
        num_negatives (int): Number R of draws for each of the A anchors.

    Returns:
        tuple[Tensor, Tensor]: (A, min(R, M)) int64 indices, and whether each
        is valid: false where an anchor has fewer candidates than R.
    """
    keys = weights / torch.empty_like(weights).exponential_().clamp_(min=1e-30)
    keys, index = keys.topk(min(num_negatives, weights.shape[1]), dim=1)
    return index, keys > 0


def descriptor(
    queries: Tensor, classes: Tensor, sampling: str
) -> Tensor | None:
    """Descriptor y by which pixels of one image are compared.

    Args:
        queries (Tensor): (N, K) P_m of the image's pixels.
        classes (Tensor): (N, C + 1) F_c of the image's pixels.
        sampling (str): One of :data:`SAMPLINGS`.

    Returns:
        Tensor | None: (N, D) normalised descriptors, None for ``uniform``,
        where all pixels are alike.
    """
    if sampling == 'uniform':
        return None
    if sampling == 'mask':
        return F.normalize(queries, dim=1)
    if sampling == 'class':
        return F.normalize(classes, dim=1)
    return F.normalize(torch.cat([queries, classes], 1), dim=1)


@torch.no_grad()
def negative_weights(
    anchors: Tensor,
    own: slice,
    within: Tensor | None,
    others: Tensor,
    sampling: str,
) -> Tensor:
    """Weights of all M pixels as negatives of one image's A anchors.

    Args:
        anchors (Tensor): (A, ) int64 indices into the image's pixels.
        own (slice): The image's pixels among all M.
        within (Tensor, optional): (N, D) :func:`descriptor` of the image's
            pixels.
        others (Tensor): (M, C + 1) normalised F_c of all pixels.
        sampling (str): One of :data:`SAMPLINGS`.

    Returns:
        Tensor: (A, M) weights, 0 for the anchor itself and for pixels whose
        descriptor equals the anchor's.
    """
    here = own.start + anchors
    if sampling in ('uniform', 'mask'):
        weights = others.new_ones(len(anchors), len(others))
    else:
        weights = 1 - others[here] @ others.T
    if within is not None:
        weights[:, own] = 1 - within[anchors] @ within.T
    weights.masked_fill_(weights < _EPS, 0)
    return weights.scatter_(1, here[:, None], 0)
