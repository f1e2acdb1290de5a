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

    `SSKD <https://arxiv.org/abs/2604.03841>`_, L_pxl: with z the normalised
    output of a projection head on a feature map, the same pixel of a weak
    and a strong view is a positive pair, and R other pixels are drawn as
    negatives from the model's own detached predictions:

    ``L = -mean log(e^{s+} / (e^{s+} + sum_r e^{s-_r}))``, s = <z, z'> / T.

    The weight of a candidate is ``max(0, 1 - <y, y'>)``, y the L2-normalised
    concatenation of P_m and F_c (:func:`pixel_descriptors`). Query indices
    mean nothing in another image: its pixels are compared by normalised F_c
    alone, in mode ``mask`` not at all. Negatives are taken from the weak
    view. Anchors without a candidate have a loss of 0. Pixels of the padding
    take no part.

    Args:
        in_channels (int): Channels of the input feature map.
        hidden_channels (int): Width of the projection head's two hidden
            layers, which have no biases, as in the authors' research code.
            Defaults to 128.
        out_channels (int): Dimension of the embedding z. Defaults to 128.
        sampling (str): ``fusion`` (default), ``mask`` (P_m alone), ``class``
            (F_c alone) or ``uniform``.
        num_negatives (int): Number R of negatives of an anchor; one with
            fewer candidates uses those. Defaults to 200.
        temperature (float | tuple[float, float]): T, or its first and last
            value of a linear schedule, 0.3 and 0.07 in the authors' research
            code. The schedule's position is a buffer, so that a resumed run
            goes on with it. Defaults to a constant 0.2.
        schedule_iters (int, optional): Iterations of the schedule; goes with
            a pair of temperatures.
        mask_temperature (float): Temperature of P_m's softmax over queries.
            Defaults to 0.5.
        anchors_per_image (int, optional): Random pixels that are anchors; by
            default all are.
        chunk_size (int): Anchors whose similarities to all pixels exist at a
            time. Defaults to 1024.
        loss_weight (float): Weight lambda_pxl of the loss. Defaults to 0.1.

    Raises:
        ValueError: if an argument is out of range.
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
        """T of this iteration."""
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
        """Loss of a batch, in fp32 whatever the autocast.

        Args:
            weak (Tensor): (B, C, h, w) features of the weak view.
            strong (Tensor): (B, C, h, w) of the strong one: the same pixels
                in other colours. No gradient goes into them.
            mask_logits (Tensor): (B, K, H', W') predictions on the weak view
                that cover the padded image. Used without gradient.
            cls_logits (Tensor): (B, K, C + 1), "no object" last.
            valid (Tensor, optional): (B, h, w) bool, false on padding.
            gt_ids (Tensor, optional): (B, h, w) int64, the object of each
                pixel, 0 the background, -1 unknown. For the statistics.
            grid (FeatureGrid, optional): Where the positions of the features
                lie in the padded image; by default (h, w) equal cells cover
                it.

        Returns:
            Tensor: a scalar.
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
        """Mean over the anchors; (M, D) embeddings of the valid pixels."""
        queries, classes = descriptors.queries[valid], descriptors.classes
        classes = classes[valid]
        others = F.normalize(classes, dim=1)
        ids = [descriptors.instances[valid]]
        if gt_ids is not None:
            ids.append(gt_ids.flatten(1)[valid])
        totals = _Totals(z_weak) if self.keep_statistics else None
        total, num_anchors, start = z_weak.sum() * 0, 0, 0
        for count in valid.sum(1).tolist():
            own = slice(start, start + count)
            start += count
            within = descriptor(queries[own], classes[own], self.sampling)
            anchors = torch.arange(count, device=z_weak.device)
            if self.anchors_per_image is not None:
                anchors = torch.randperm(count, device=z_weak.device)
                anchors = anchors[: self.anchors_per_image]
            for part in anchors.split(self.chunk_size):
                weights = negative_weights(
                    part, own, within, others, self.sampling
                )
                index, drawn = draw_negatives(weights, self.num_negatives)
                here = own.start + part
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
                    totals.add(positive, cosines, drawn, index, here, own, ids)
            num_anchors += len(anchors)
        if totals is not None:
            self.statistics = totals.means()
        return total / max(num_anchors, 1)


def _cosines(z: Tensor, pool: Tensor, index: Tensor) -> Tensor:
    """(A, R) of (A, D) anchors with the drawn ones of (M, D) embeddings."""
    return (z @ pool.T).gather(1, index)


class _Totals:
    """Sums behind the margin and the false-negative rate."""

    def __init__(self, like: Tensor) -> None:
        self.sums = like.new_zeros(8, dtype=torch.float64)

    @torch.no_grad()
    def add(self, positive, cosines, valid, index, here, own, ids) -> None:
        """One chunk of anchors of one image; see ``_info_nce``."""
        in_image = valid & (index >= own.start) & (index < own.stop)
        values = [
            positive.sum(),
            torch.tensor(len(positive)),
            (cosines * valid).sum(),
            valid.sum(),
        ]
        for which in ids:
            mine = which[here][:, None]
            known = valid & (mine >= 0)
            same = in_image & known & (which[index] == mine)
            values += [same.sum(), known.sum()]
        for k, value in enumerate(values):
            self.sums[k] += value

    def means(self) -> dict[str, Tensor]:
        """``margin``, ``fnr_pred`` and, with known objects, ``fnr_gt``."""
        positive, anchors, negative, drawn, same, of, gt_same, gt_of = (
            self.sums
        )
        margin = positive / anchors - negative / drawn
        stats = dict(margin=margin, fnr_pred=same / of, fnr_gt=gt_same / gt_of)
        return {k: v for k, v in stats.items() if torch.isfinite(v)}
