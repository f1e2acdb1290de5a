# SPDX-License-Identifier: Apache-2.0
"""Compare PR of 4 images x 20 masks with calls of sam2."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.structures import InstanceData
from s4m.models import PseudoLabelRefiner
from s4m.models.promptable import PromptableSegmenter, SegmenterEmbeddings
from s4m.utils.timing import measure
from torch import Tensor

NUM_IMAGES = 4
NUM_MASKS = 20


def compare(
    segmenter: PromptableSegmenter,
    size: tuple[int, int],
    repeats: int,
    device: str,
    **_,
) -> dict[str, dict[str, float]]:
    """Measure times and memory by the name of the variant.

    Args:
        segmenter (PromptableSegmenter): A ``SAM2Segmenter``.
        size (tuple[int, int]): (H, W) of the images.
        repeats (int): Number of turns.
        device (str): Device of the images.
    """
    refiner = PseudoLabelRefiner(segmenter={})
    refiner.set_segmenter(segmenter)
    images, masks = NUM_IMAGES, NUM_MASKS
    rgb = torch.rand(images, 3, *size, device=device) * 255
    shape = images, masks, size[0] // 4, size[1] // 4
    logits = torch.randn(shape, device=device)
    points = torch.rand(images, masks, 3, 2, device=device) * size[0]

    def refine() -> None:
        refiner(
            rgb,
            [
                InstanceData(
                    labels=x.new_zeros(len(x), dtype=torch.long),
                    mask_logits=x,
                    masks=x > 0,
                )
                for x in logits
            ],
        )

    def bare(images_at_once: int, masks_at_once: int) -> None:
        """Call sam2's encoder and decoder as SAM2ImagePredictor does."""
        for first in range(0, images, images_at_once):
            embeddings = segmenter.encode(rgb[first : first + images_at_once])
            for i in range(len(embeddings)):
                for part in points[first + i].split(masks_at_once):
                    decode_alone(segmenter, embeddings, i, part, size)

    return measure(
        {
            'batched refiner': refine,
            "sam2's encoder and decoder alone": lambda: bare(images, masks),
            'one image, one mask at a time': lambda: bare(1, 1),
        },
        repeats,
    )


def prompts_of(
    segmenter: PromptableSegmenter, points: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Convert points to the input of sam2's prompt encoder.

    Args:
        segmenter (PromptableSegmenter): A ``SAM2Segmenter``.
        points (Tensor): (N, K, 2) positive points (x, y) in pixels.
        size (tuple[int, int]): (H, W) of the images.
    """
    model: Any = segmenter.model  # sam2 has no types
    scale = points.new_tensor([size[1], size[0]])
    coords = points / scale * model.image_size
    return coords, torch.ones_like(coords[..., 0], dtype=torch.int)


@torch.no_grad()
def decode_alone(
    segmenter: PromptableSegmenter,
    embeddings: SegmenterEmbeddings,
    image: int,
    points: Tensor,
    size: tuple[int, int],
) -> None:
    """Call sam2's decoder on (N, K, 2) points of one image of a batch."""
    model: Any = segmenter.model  # sam2 has no types
    encoder, decoder = model.sam_prompt_encoder, model.sam_mask_decoder
    sparse, dense = encoder(
        points=prompts_of(segmenter, points, size), boxes=None, masks=None
    )
    decoder(
        image_embeddings=embeddings.image_embed[image : image + 1],
        image_pe=encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=True,
        high_res_features=[
            m[image : image + 1] for m in embeddings.high_res_feats
        ],
    )
