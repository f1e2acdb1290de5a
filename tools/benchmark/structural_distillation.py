# SPDX-License-Identifier: Apache-2.0
"""Compare SD targets of one image with calls of sam2's decoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from refinement import decode_alone, prompts_of
from s4m.models.promptable import PromptableSegmenter
from s4m.utils.timing import measure
from torch import Tensor


def compare(
    segmenter: PromptableSegmenter,
    size: tuple[int, int],
    repeats: int,
    device: str,
    num_points: int,
    **_,
) -> dict[str, dict[str, float]]:
    """Measure times and memory by the name of the variant.

    Args:
        segmenter (PromptableSegmenter): A ``SAM2Segmenter``.
        size (tuple[int, int]): (H, W) of the image.
        repeats (int): Number of turns.
        device (str): Device of the image.
        num_points (int): Number of points; each has a row of similarities.
    """
    rgb = torch.rand(1, 3, *size, device=device) * 255
    points = torch.rand(1, num_points, 2, device=device) * size[0]
    model: Any = segmenter.model  # sam2 has no types
    transformer = model.sam_mask_decoder.transformer
    seen: list[Tensor] = []

    def early() -> None:
        segmenter.similarity(segmenter.encode(rgb), points)

    @torch.no_grad()
    def blocks() -> None:
        """Call sam2's two-way blocks on the same prompts, chunk by chunk."""
        embeddings = segmenter.encode(rgb)
        prompts = prompts_of(segmenter, points.reshape(-1, 1, 2), size)
        pe = model.sam_prompt_encoder.get_dense_pe()
        pe = pe.flatten(2).transpose(1, 2)
        for part in zip(
            *(p.split(segmenter.chunk_size) for p in prompts), strict=True
        ):
            sparse, dense = model.sam_prompt_encoder(
                points=part, boxes=None, masks=None
            )
            tokens = output_tokens(model.sam_mask_decoder, sparse)
            queries = tokens
            keys = (embeddings.image_embed + dense).flatten(2).transpose(1, 2)
            for layer in transformer.layers:
                queries, keys = layer(
                    queries=queries, keys=keys, query_pe=tokens, key_pe=pe
                )

    def whole() -> None:
        """Call the full decoder on all points, then compute the rows."""
        handle = transformer.register_forward_hook(
            lambda _m, _a, out: seen.append(out[1])
        )
        embeddings = segmenter.encode(rgb)
        decode_alone(segmenter, embeddings, 0, points[0][:, None], size)
        handle.remove()
        tokens = F.normalize(torch.cat(seen).float(), dim=-1)
        seen.clear()
        tokens @ tokens[:, :1].transpose(1, 2)

    return measure(
        {
            'early stop, chunked': early,
            'encoder and two-way blocks alone': blocks,
            'whole decoder': whole,
        },
        repeats,
    )


def output_tokens(decoder: Any, sparse: Tensor) -> Tensor:
    """Put the output tokens before the prompt's, as sam2's decoder does."""
    tokens = [decoder.iou_token.weight, decoder.mask_tokens.weight]
    if decoder.pred_obj_scores:
        tokens.insert(0, decoder.obj_score_token.weight)
    before = torch.cat(tokens).expand(len(sparse), -1, -1)
    return torch.cat([before, sparse], dim=1)
