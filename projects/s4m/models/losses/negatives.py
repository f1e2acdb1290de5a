# SPDX-License-Identifier: Apache-2.0
"""Instance-aware sampling of negatives for a pixel-wise contrastive loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .feature_grid import FeatureGrid

#: Predictions by which anchors and candidates are compared.
SAMPLINGS = ('uniform', 'mask', 'class', 'fusion')

# Equal descriptors differ by about 1e-7 through rounding; a pixel closer than
# this is not a negative.
_EPS = 1e-5


@dataclass
class PixelDescriptors:
    """Predictions at the N pixels of each of B images, for sampling.

    Attributes:
        queries (Tensor): (B, N, K) P_m, the probability of each query at each
            pixel.
        classes (Tensor): (B, N, C + 1) F_c, the score of each class at each
            pixel; the last class is "no object".
    """

    queries: Tensor
    classes: Tensor

    @property
    def instances(self) -> Tensor:
        """(B, N) int64 index of the predicted instance, the strongest query.

        All background pixels have the index K.
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
        cls_logits (Tensor): (B, K, C + 1) class logits of the queries.
        grid (FeatureGrid): Centres of the (h, w) positions, N = h * w.
        mask_temperature (float): Temperature of the softmax over the
            queries. Defaults to 0.5.

    Returns:
        PixelDescriptors: P_m and F_c of all pixels.
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

    The candidates with the largest keys ``weight / Exp(1)`` are drawn, which
    is Gumbel top-k and equals sequential draws.

    Args:
        weights (Tensor): (A, M) weights of M candidates, all >= 0.
        num_negatives (int): Number R of draws for each of the A anchors.

    Returns:
        tuple[Tensor, Tensor]: (A, min(R, M)) int64 indices, and
        (A, min(R, M)) bool, whether each draw is valid: draws beyond the
        number of an anchor's candidates are not.

    Example:
        >>> weights = torch.tensor([[0.0, 2.0, 0.0]])
        >>> index, valid = draw_negatives(weights, num_negatives=2)
        >>> int(index[0, 0]), valid.tolist()
        (1, [[True, False]])
    """
    keys = weights / torch.empty_like(weights).exponential_().clamp_(min=1e-30)
    keys, index = keys.topk(min(num_negatives, weights.shape[1]), dim=1)
    return index, keys > 0


def descriptor(
    queries: Tensor, classes: Tensor, sampling: str
) -> Tensor | None:
    """Compute the descriptor y by which pixels of one image are compared.

    Args:
        queries (Tensor): (N, K) P_m of the image's pixels.
        classes (Tensor): (N, C + 1) F_c of the image's pixels.
        sampling (str): One of :data:`SAMPLINGS`.

    Returns:
        Tensor | None: (N, D) normalised descriptors; None for ``uniform``,
        which does not compare pixels.
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
    image_slice: slice,
    within: Tensor | None,
    others: Tensor,
    sampling: str,
) -> Tensor:
    """Compute the weights of all M pixels as negatives of A anchors.

    Args:
        anchors (Tensor): (A, ) int64 indices of the anchors among the pixels
            of one image.
        image_slice (slice): Where the image's pixels lie among all M.
        within (Tensor, optional): (N, D) :func:`descriptor` of the image's
            pixels.
        others (Tensor): (M, C + 1) normalised F_c of the pixels of all
            images.
        sampling (str): One of :data:`SAMPLINGS`.

    Returns:
        Tensor: (A, M) weights, 0 for the anchor itself and for pixels whose
        descriptor equals the anchor's.
    """
    here = image_slice.start + anchors
    if sampling in ('uniform', 'mask'):
        weights = others.new_ones(len(anchors), len(others))
    else:
        weights = 1 - others[here] @ others.T
    if within is not None:
        weights[:, image_slice] = 1 - within[anchors] @ within.T
    weights.masked_fill_(weights < _EPS, 0)
    return weights.scatter_(1, here[:, None], 0)
