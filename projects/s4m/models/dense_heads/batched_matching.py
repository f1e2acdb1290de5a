# SPDX-License-Identifier: Apache-2.0
"""Match queries and objects of several decoder layers and images at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.models.task_modules.assigners import ClassificationCost
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .batched_costs import MaskChunk, batch_cost


@dataclass
class Matches:
    """Matched queries and objects of all layers, in the order of MMDet.

    Every layer has the same number M of pairs, since an image has as many as
    it has objects, at most the number of queries. The pairs of a layer are
    ordered by image, then by query.

    Attributes:
        queries (Tensor): (L, M) int64 indices into the B x Q queries of the
            batch.
        targets (Tensor): (L, M) int64 indices into the T objects of the
            batch.
        slots (Tensor): (L, T) int64, the pair that each object is in; 0 for
            the objects without a query.
    """

    queries: Tensor
    targets: Tensor
    slots: Tensor


def matching_cost(
    costs: Sequence[BaseMatchCost],
    scores: Tensor,
    labels: Sequence[Tensor],
    chunks: Iterable[MaskChunk],
    img_metas: Sequence[dict],
) -> Tensor:
    """Compute MMDet's matching costs for all layers and images.

    Args:
        costs (Sequence[BaseMatchCost]): Costs, which are added.
        scores (Tensor): (L, B, Q, C + 1) class logits.
        labels (Sequence[Tensor]): (n_b, ) int64 classes in each image.
        chunks (Iterable[MaskChunk]): Masks of all layers, in order.
        img_metas (Sequence[dict]): Metainfo of each image.

    Returns:
        Tensor: (L, B, Q, N) costs, N the largest n_b; the columns after the
        objects of an image mean nothing.
    """
    # A cost of classes needs no chunks.
    of_masks = [
        batch_cost(cost, scores, labels, img_metas)
        for cost in costs
        if type(cost) is not ClassificationCost
    ]
    for chunk in chunks:
        # One sigmoid for all costs.
        probs = chunk.logits.sigmoid()
        for batched in of_masks:
            batched.add(chunk, probs)
    parts = [batched.total() for batched in of_masks]
    padded = pad_sequence(list(labels), batch_first=True)
    index = padded[None, :, None].expand(len(scores), -1, scores.shape[2], -1)
    parts += [
        scores.softmax(-1).gather(-1, index) * -cost.weight
        for cost in costs
        if type(cost) is ClassificationCost
    ]
    return torch.stack(parts).sum(0)


def assign(
    cost: Tensor | None, counts: Sequence[int], num_layers: int
) -> Matches:
    """Find the pairs with the least total cost of each layer and image.

    The host waits once, for the costs.

    Args:
        cost (Tensor, optional): (L, B, Q, N) costs, of which the first n_b
            columns of image b are read. None without any object.
        counts (Sequence[int]): Number n_b of objects of each image.
        num_layers (int): Number L of layers.

    Returns:
        Matches: Pairs on the device of the costs, or on the CPU without any.
    """
    if cost is None:
        empty = torch.zeros(num_layers, 0, dtype=torch.long)
        return Matches(empty, empty, empty)
    num_queries = cost.shape[2]
    firsts = np.cumsum([0, *counts])
    host = cost.cpu().numpy()
    queries, targets = [], []
    for image, count in enumerate(counts):
        pairs = [
            linear_sum_assignment(layer[image, :, :count]) for layer in host
        ]
        rows, columns = np.asarray(pairs, np.int64).transpose(1, 0, 2)
        queries.append(rows + image * num_queries)
        targets.append(columns + firsts[image])
    query, target = np.hstack(queries), np.hstack(targets)
    slots = np.zeros((num_layers, firsts[-1]), np.int64)
    np.put_along_axis(slots, target, np.arange(target.shape[1])[None], 1)
    # One copy for all indices.
    packed = torch.from_numpy(np.hstack([query, target, slots]))
    return Matches(
        *packed.to(cost.device, non_blocking=True).split(
            [query.shape[1], target.shape[1], slots.shape[1]], dim=1
        )
    )
