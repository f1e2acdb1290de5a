# SPDX-License-Identifier: Apache-2.0
"""The interface of a promptable foundation model."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4m.structures.masks import spatial_size


@dataclass
class SegmenterEmbeddings:
    """Embeddings of a batch of images.

    Attributes:
        image_embed (Tensor): (B, C, h, w) image tokens.
        high_res_feats (list[Tensor]): Finer maps for the mask decoder, each
            (B, C_i, h_i, w_i); may be empty.
        image_size (tuple[int, int]): (H, W) in pixels of the encoded
            (padded) images, in which the coordinates of prompts count.

    Example:
        >>> tokens = torch.rand(1, 256, 64, 64)
        >>> SegmenterEmbeddings(tokens, [], (1024, 2048)).grid_size
        (64, 64)
    """

    image_embed: Tensor
    high_res_feats: list[Tensor]
    image_size: tuple[int, int]

    def __len__(self) -> int:
        """Number B of images."""
        return len(self.image_embed)

    @property
    def grid_size(self) -> tuple[int, int]:
        """(h, w) of the token grid that covers the padded image."""
        return spatial_size(self.image_embed)

    def select(self, image_ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Select the tokens and finer maps of the image of each prompt.

        Args:
            image_ids (Tensor): (N, ) int64 index of each prompt's image.

        Returns:
            tuple: (N, C, h, w) tokens and the list of finer maps. Nothing is
            copied where one image serves all prompts.
        """
        maps = [self.image_embed, *self.high_res_feats]
        if len(self) == 1:
            maps = [m.expand(len(image_ids), -1, -1, -1) for m in maps]
        else:
            maps = [m.index_select(0, image_ids) for m in maps]
        return maps[0], maps[1:]


class PromptableSegmenter(nn.Module, metaclass=ABCMeta):
    """A promptable segmentation model, split into embedding and decoding.

    Embedding and prompt decoding are separate calls, so that one embedding
    serves several sets of prompts and may come from elsewhere.

    Args:
        frozen (bool): Whether parameters require no gradient, every call
            runs under ``torch.no_grad()``, the module always stays in eval
            mode, and its :class:`~s4m.models.promptable.SegmenterOwner` keeps
            it out of the module tree. Defaults to True.

    A subclass implements :meth:`encode` and :meth:`decode`, and may implement
    :meth:`similarity`.
    """

    def __init__(self, frozen: bool = True) -> None:
        super().__init__()
        self.frozen = frozen

    def train(self, mode: bool = True) -> PromptableSegmenter:
        """Set the mode; a frozen segmenter stays in eval mode."""
        return super().train(mode and not self.frozen)

    @abstractmethod
    def encode(self, rgb: Tensor) -> SegmenterEmbeddings:
        """Embed images.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.

        Returns:
            SegmenterEmbeddings: The embeddings of the B images.
        """

    @abstractmethod
    def decode(
        self,
        embeddings: SegmenterEmbeddings,
        image_ids: Tensor,
        points: Tensor | None = None,
        boxes: Tensor | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Segment one object for each of N prompts.

        Args:
            embeddings (SegmenterEmbeddings): Embeddings of B images.
            image_ids (Tensor): (N, ) int64 index of each prompt's image.
            points (Tensor, optional): (N, P, 2) positive points (x, y) in
                pixels of the padded image.
            boxes (Tensor, optional): (N, 4) boxes (x1, y1, x2, y2) in pixels
                of the padded image.
            multimask (bool): Whether to return several hypotheses for each
                prompt and not only one. Defaults to True.

        Returns:
            tuple[Tensor, Tensor]: (N, M, h', w') low-resolution mask logits
            in fp32, which are positive on the object, and (N, M) predicted
            IoUs.
        """

    def similarity(
        self, embeddings: SegmenterEmbeddings, points: Tensor
    ) -> Tensor:
        """Compute self-similarity rows of the prompted image tokens.

        Only structural distillation calls this method, so a subclass need not
        implement it.

        Args:
            embeddings (SegmenterEmbeddings): Embeddings of B images.
            points (Tensor): (B, P, 2) points (x, y) in pixels of the padded
                image, each of which is a separate prompt.

        Returns:
            Tensor: (B, P, h * w) fp32 cosine similarities.

        Raises:
            NotImplementedError: if the segmenter has no such rows.
        """
        raise NotImplementedError(
            f'{type(self).__name__} has no method `similarity`, which '
            'structural distillation compares with.'
        )


def token_index(
    points: Tensor, image_size: tuple[int, int], grid_size: tuple[int, int]
) -> Tensor:
    """Compute the flat index of the token under each point.

    The tokens cover the whole padded image, so the index is
    ``floor(y * h / H) * w + floor(x * w / W)``.

    Args:
        points (Tensor): (..., 2) points (x, y) in pixels.
        image_size (tuple[int, int]): (H, W) of the padded image in pixels.
        grid_size (tuple[int, int]): (h, w) of the token grid.

    Returns:
        Tensor: (...) int64.

    Example:
        >>> token_index(torch.tensor([[10.0, 30.0]]), (64, 64), (4, 4))
        tensor([4])
    """
    (height, width), (h, w) = image_size, grid_size
    # The product comes first, since it is a small integer and so exact in
    # fp32.
    col = (points[..., 0] * w / width).floor().long().clamp(0, w - 1)
    row = (points[..., 1] * h / height).floor().long().clamp(0, h - 1)
    return row * w + col


def cosine_rows(maps: Tensor, index: Tensor) -> Tensor:
    """Compute the cosines of one token of each map with all its tokens.

    Args:
        maps (Tensor): (B, P, L, C) tokens of P maps of each of B images.
        index (Tensor): (B, P) int64 index of each map's token.

    Returns:
        Tensor: (B, P, L) fp32 cosines, also inside autocast.
    """
    with torch.autocast(maps.device.type, enabled=False):
        maps = F.normalize(maps.float(), dim=-1)
        at = index[:, :, None, None].expand(-1, -1, 1, maps.shape[-1])
        return (maps @ maps.gather(2, at).transpose(2, 3)).squeeze(3)


def best_mask(logits: Tensor, ious: Tensor) -> tuple[Tensor, Tensor]:
    """Select the hypothesis with the highest predicted IoU.

    Args:
        logits (Tensor): (N, M, h, w) mask logits of M hypotheses.
        ious (Tensor): (N, M) predicted IoUs.

    Returns:
        tuple[Tensor, Tensor]: (N, h, w) mask logits and (N, ) IoUs.
    """
    scores, best = ious.max(dim=1)
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, best], scores
