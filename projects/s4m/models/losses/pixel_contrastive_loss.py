# SPDX-License-Identifier: Apache-2.0
"""Instance-aware pixel-wise contrastive loss of SSKD."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from s4m.structures.masks import spatial_size

from .feature_grid import FeatureGrid
from .negatives import (
    SAMPLINGS,
    PixelDescriptors,
    descriptor,
    draw_negatives,
    negative_weights,
    pixel_descriptors,
)


@MODELS.register_module()
class PixelContrastiveLoss(nn.Module):
    """InfoNCE between pixels, with instance-aware negatives.

    L_pxl of `SSKD <https://arxiv.org/abs/2604.03841>`_. The embedding z is
    the normalised output of a projection head on a feature map. The same
    pixel of a weak and a strong view is a positive pair, and R other pixels
    of the weak view are drawn as negatives by the detached predictions of the
    model:

    ``L = -mean log(e^{s+} / (e^{s+} + sum_r e^{s-_r}))``, s = <z, z'> / T.

    The weight of a candidate is ``max(0, 1 - <y, y'>)``, where y is the
    L2-normalised concatenation of P_m and F_c (:func:`pixel_descriptors`).
    Query indices of two images do not correspond, so pixels of another image
    are compared by normalised F_c alone, and in mode ``mask`` they all have
    the weight 1. The loss of an anchor without a candidate is 0. Padding is
    left out.

    Args:
        in_channels (int): Channels of the input feature map.
        hidden_channels (int): Width of the projection head's two hidden
            layers, which have no biases, as in the authors' research code.
            Defaults to 128.
        out_channels (int): Dimension of the embedding z. Defaults to 128.
        sampling (str): ``fusion`` (default), ``mask`` (P_m alone), ``class``
            (F_c alone) or ``uniform``.
        num_negatives (int): Number R of negatives of an anchor; an anchor
            with fewer candidates uses all of them. Defaults to 200.
        temperature (float | tuple[float, float]): Temperature T, or the first
            and the last value of a linear schedule, 0.3 and 0.07 in the
            authors' research code. The position in the schedule is a buffer,
            so that a resumed run continues it. Defaults to 0.2.
        schedule_iters (int, optional): Number of iterations of the schedule,
            needed with a pair of temperatures.
        mask_temperature (float): Temperature of the softmax over queries in
            P_m. Defaults to 0.5.
        anchors_per_image (int, optional): Number of random pixels that serve
            as anchors. Defaults to all pixels.
        chunk_size (int): Number of anchors whose similarities to all pixels
            are in memory at a time. Defaults to 1024.
        loss_weight (float): Weight lambda_pxl of the loss. Defaults to 0.1.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> loss = PixelContrastiveLoss(in_channels=8, num_negatives=4)
        >>> weak, strong = torch.rand(2, 1, 8, 4, 4)
        >>> mask_logits = torch.rand(1, 5, 16, 16)  # 5 queries
        >>> cls_logits = torch.rand(1, 5, 3)  # 2 classes and "no object"
        >>> loss(weak, strong, mask_logits, cls_logits).shape
        torch.Size([])
    """

    iteration: Tensor

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 128,
        out_channels: int = 128,
        sampling: str = 'fusion',
        num_negatives: int = 200,
        temperature: float | tuple[float, float] = 0.2,
        schedule_iters: int | None = None,
        mask_temperature: float = 0.5,
        anchors_per_image: int | None = None,
        chunk_size: int = 1024,
        loss_weight: float = 0.1,
    ) -> None:
        super().__init__()
        if sampling not in SAMPLINGS:
            raise ValueError(
                f'sampling must be one of {SAMPLINGS}, got {sampling!r}'
            )
        for name, value in (
            ('num_negatives', num_negatives),
            ('chunk_size', chunk_size),
            ('anchors_per_image', anchors_per_image),
            ('schedule_iters', schedule_iters),
        ):
            if value is not None and value < 1:
                raise ValueError(f'{name} must be >= 1, got {value}')
        constant = isinstance(temperature, int | float)
        span = (
            (temperature, temperature)
            if isinstance(temperature, int | float)
            else tuple(temperature)
        )
        if len(span) != 2 or min(*span, mask_temperature) <= 0:
            raise ValueError(
                'temperature must be a number or a pair of them, and '
                f'mask_temperature a number, all > 0; got {temperature} and '
                f'{mask_temperature}'
            )
        if constant != (schedule_iters is None):
            raise ValueError(
                'schedule_iters goes with a pair of temperatures, got '
                f'{schedule_iters} and {temperature}'
            )
        self.sampling = sampling
        self.num_negatives = num_negatives
        self.temperatures = span
        self.schedule_iters = schedule_iters
        self.mask_temperature = mask_temperature
        self.anchors_per_image = anchors_per_image
        self.chunk_size = chunk_size
        self.loss_weight = loss_weight
        self.projector = nn.Sequential(
            nn.Linear(in_channels, hidden_channels, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_channels, hidden_channels, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_channels, out_channels, bias=False),
        )
        if schedule_iters is not None:
            self.register_buffer('iteration', torch.zeros((), dtype=torch.int))
        #: Whether :meth:`forward` keeps :attr:`statistics`, which the
        #: ``ContrastiveDiagnosticsHook`` logs.
        self.keep_statistics = False
        self.statistics: dict[str, Tensor] = {}

    @property
    def temperature(self) -> float | Tensor:
        """Temperature T of this iteration."""
        first, last = self.temperatures
        if self.schedule_iters is None:
            return first
        done = (self.iteration / self.schedule_iters).clamp(max=1)
        return first + (last - first) * done

    def forward(
        self,
        weak: Tensor,
        strong: Tensor,
        mask_logits: Tensor,
        cls_logits: Tensor,
        valid: Tensor | None = None,
        gt_ids: Tensor | None = None,
        grid: FeatureGrid | None = None,
    ) -> Tensor:
        """Compute the loss of a batch, in fp32 also inside autocast.

        Args:
            weak (Tensor): (B, C, h, w) features of the weak view.
            strong (Tensor): (B, C, h, w) features of the strong view, which
                shows the same pixels in other colours. They get no gradient.
            mask_logits (Tensor): (B, K, H', W') mask logits of the weak view
                that cover the padded image. They get no gradient.
            cls_logits (Tensor): (B, K, C + 1) class logits, "no object" last.
                They get no gradient.
            valid (Tensor, optional): (B, h, w) bool, false on padding.
                Defaults to images without padding.
            gt_ids (Tensor, optional): (B, h, w) int64 index of the object at
                each pixel, 0 for the background and -1 where it is unknown.
                Only the statistics use it.
            grid (FeatureGrid, optional): Where the positions of the features
                lie in the padded image. Defaults to equal cells that cover
                the image.

        Returns:
            Tensor: The weighted loss, a scalar.
        """
        size = spatial_size(weak)
        if grid is None:
            grid = FeatureGrid.covering(
                size, spatial_size(mask_logits), weak.device
            )
        descriptors = pixel_descriptors(
            mask_logits, cls_logits, grid, self.mask_temperature
        )
        if valid is None:
            valid = weak.new_ones((len(weak), *size), dtype=torch.bool)
        valid = valid.flatten(1)
        with torch.autocast(weak.device.type, enabled=False):
            z_weak, z_strong = (
                F.normalize(
                    self.projector(f.flatten(2).transpose(1, 2)[valid]), dim=1
                )
                for f in (weak.float(), strong.detach().float())
            )
            loss = self._info_nce(z_weak, z_strong, descriptors, valid, gt_ids)
        if self.schedule_iters is not None and self.training:
            self.iteration += 1
        return self.loss_weight * loss

    def _info_nce(
        self,
        z_weak: Tensor,
        z_strong: Tensor,
        descriptors: PixelDescriptors,
        valid: Tensor,
        gt_ids: Tensor | None,
    ) -> Tensor:
        """Average the loss over the anchors of all images.

        Args:
            z_weak (Tensor): (M, D) embeddings of the M valid pixels.
            z_strong (Tensor): (M, D) embeddings in the strong view.
            descriptors (PixelDescriptors): Predictions at all pixels.
            valid (Tensor): (B, h * w) bool, false on padding.
            gt_ids (Tensor, optional): (B, h, w) int64, as for
                :meth:`forward`.

        Returns:
            Tensor: The loss before its weight, a scalar.
        """
        queries, classes = descriptors.queries[valid], descriptors.classes
        classes = classes[valid]
        others = F.normalize(classes, dim=1)
        ids = [descriptors.instances[valid]]
        if gt_ids is not None:
            ids.append(gt_ids.flatten(1)[valid])
        totals = _Totals(z_weak) if self.keep_statistics else None
        total, num_anchors, start = z_weak.sum() * 0, 0, 0
        for count in valid.sum(1).tolist():
            image = slice(start, start + count)
            start += count
            within = descriptor(queries[image], classes[image], self.sampling)
            anchors = torch.arange(count, device=z_weak.device)
            if self.anchors_per_image is not None:
                anchors = torch.randperm(count, device=z_weak.device)
                anchors = anchors[: self.anchors_per_image]
            for part in anchors.split(self.chunk_size):
                weights = negative_weights(
                    part, image, within, others, self.sampling
                )
                index, drawn = draw_negatives(weights, self.num_negatives)
                here = image.start + part
                # Recompute in backward; otherwise autograd keeps an anchors
                # x pixels matrix for every chunk, together pixels x pixels.
                cosines = checkpoint(
                    _cosines,
                    z_weak[here],
                    z_weak,
                    index,
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
                positive = (z_weak[here] * z_strong[here]).sum(1)
                negative = (cosines / self.temperature).masked_fill(
                    ~drawn, -torch.inf
                )
                scaled = (positive / self.temperature)[:, None]
                losses = torch.cat([scaled, negative], 1).logsumexp(1)
                total = total + (losses - scaled[:, 0]).sum()
                if totals is not None:
                    totals.add(
                        positive, cosines, drawn, index, here, image, ids
                    )
            num_anchors += len(anchors)
        if totals is not None:
            self.statistics = totals.means()
        return total / max(num_anchors, 1)


def _cosines(z: Tensor, pool: Tensor, index: Tensor) -> Tensor:
    """(A, R) cosines of (A, D) anchors with R of the (M, D) embeddings."""
    return (z @ pool.T).gather(1, index)


class _Totals:
    """Sums for the margin and the false-negative rate."""

    def __init__(self, like: Tensor) -> None:
        self.sums = like.new_zeros(8, dtype=torch.float64)

    @torch.no_grad()
    def add(
        self,
        positive: Tensor,
        cosines: Tensor,
        valid: Tensor,
        index: Tensor,
        here: Tensor,
        image: slice,
        ids: list[Tensor],
    ) -> None:
        """Add a chunk of A anchors of one image.

        Args:
            positive (Tensor): (A, ) cosines of the positive pairs.
            cosines (Tensor): (A, R) cosines of the negative pairs.
            valid (Tensor): (A, R) bool, whether each negative was drawn.
            index (Tensor): (A, R) int64 negatives among all M pixels.
            here (Tensor): (A, ) int64 anchors among all M pixels.
            image (slice): Where the image's pixels lie among all M.
            ids (list[Tensor]): (M, ) int64 predicted instances and, with
                known objects, (M, ) int64 annotated ones.
        """
        in_image = valid & (index >= image.start) & (index < image.stop)
        values = [
            positive.sum(),
            torch.tensor(len(positive)),
            (cosines * valid).sum(),
            valid.sum(),
        ]
        for which in ids:
            anchor_ids = which[here][:, None]
            known = valid & (anchor_ids >= 0)
            same = in_image & known & (which[index] == anchor_ids)
            values += [same.sum(), known.sum()]
        for k, value in enumerate(values):
            self.sums[k] += value

    def means(self) -> dict[str, Tensor]:
        """Compute ``margin``, ``fnr_pred`` and, if known, ``fnr_gt``."""
        positive, anchors, negative, drawn, same, of, gt_same, gt_of = (
            self.sums
        )
        margin = positive / anchors - negative / drawn
        stats = dict(margin=margin, fnr_pred=same / of, fnr_gt=gt_same / gt_of)
        return {k: v for k, v in stats.items() if torch.isfinite(v)}
