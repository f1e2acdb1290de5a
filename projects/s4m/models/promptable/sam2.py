# SPDX-License-Identifier: Apache-2.0
"""SAM 2 as a batched promptable segmenter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor

from s4m.structures.masks import spatial_size

from .promptable_segmenter import (
    PromptableSegmenter,
    SegmenterEmbeddings,
    cosine_rows,
    token_index,
)
from .sam2_build import build_sam2_model, load_sam2_checkpoint
from .sam2_precision import DTYPES, sam2_precision

_PIXEL_MEAN = (0.485, 0.456, 0.406)
_PIXEL_STD = (0.229, 0.224, 0.225)

# Image tokens of all prompts of a decoder call on a CPU. With more tokens, the
# maps exceed the caches and a prompt takes up to 1.7 times as long
# (docs/benchmarks.md).
_CPU_TOKENS = 8192


@MODELS.register_module()
class SAM2Segmenter(PromptableSegmenter):
    """`Segment Anything Model 2 <https://arxiv.org/abs/2408.00714>`_.

    All calls take a whole batch. Prompts run in chunks, which bounds the
    memory: a prompt needs about 60 MiB in fp32 at 1024 pixels.

    Args:
        config (str): ``sam2[.1]_hiera_{tiny,small,base_plus,large}``,
            ``nano_sam2``, or the path of a yaml in sam2's layout.
        checkpoint (str, optional): Path of a file in sam2's layout, or
            ``nano_sam2``. None leaves the weights random, with a warning.
        sha256 (str, optional): Expected digest of the checkpoint, or its
            first characters. Defaults to no check.
        image_size (int, optional): Side of the input in pixels. Defaults to
            the value in the yaml.
        chunk_size (int): Largest number of prompts that are decoded at once,
            see :meth:`decode_chunk`. Defaults to 48.
        dtype (str, optional): Autocast dtype of encoder and decoder, which
            does not depend on the surrounding autocast: ``float32``,
            ``bfloat16`` or ``float16``. Defaults to None: bf16 for a frozen
            model on a device that computes in it, otherwise fp32.
        frozen (bool): Whether the segmenter does not train, see
            :class:`PromptableSegmenter`. A trainable one reads its checkpoint
            in :meth:`init_weights`. Defaults to True.
        trainable (Sequence[str], optional): Submodules of sam2's model that
            train, such as ``image_encoder.neck``. Defaults to all.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> segmenter = dict(
        ...     type='SAM2Segmenter', config='sam2_hiera_large',
        ...     checkpoint='checkpoints/sam2_hiera_large.pt')
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        config: str,
        checkpoint: str | None,
        sha256: str | None = None,
        image_size: int | None = None,
        chunk_size: int = 48,
        dtype: str | None = None,
        frozen: bool = True,
        trainable: Sequence[str] | None = None,
    ) -> None:
        super().__init__(frozen)
        if chunk_size < 1:
            raise ValueError(f'chunk_size must be >= 1, got {chunk_size}')
        if dtype not in (None, *DTYPES):
            raise ValueError(f'dtype must be one of {DTYPES}, got {dtype!r}')
        self.chunk_size = chunk_size
        self.dtype = dtype
        self.model = build_sam2_model(config, image_size)
        self.checkpoint, self.sha256 = checkpoint, sha256
        if checkpoint is not None and frozen:
            load_sam2_checkpoint(self.model, checkpoint, sha256)
        elif checkpoint is None:
            print_log(
                f'SAM2Segmenter({config}): no checkpoint, the weights are '
                'random.',
                logger='current',
                level=30,
            )
        mean = torch.tensor(_PIXEL_MEAN).view(1, 3, 1, 1) * 255
        std = torch.tensor(_PIXEL_STD).view(1, 3, 1, 1) * 255
        self.register_buffer('pixel_mean', mean, persistent=False)
        self.register_buffer('pixel_std', std, persistent=False)
        self.requires_grad_(not frozen and trainable is None)
        modules = dict(self.model.named_modules())
        for name in trainable or ():
            if frozen:
                raise ValueError(f'trainable={name!r}: segmenter is frozen')
            if name not in modules:
                raise ValueError(f'trainable={name!r}: no such module in sam2')
            modules[name].requires_grad_()
        self.train(not frozen)

    def init_weights(self) -> None:
        """Read the checkpoint, unless the segmenter is frozen."""
        if self.checkpoint is not None and not self.frozen:
            load_sam2_checkpoint(self.model, self.checkpoint, self.sha256)

    def encode(self, rgb: Tensor) -> SegmenterEmbeddings:
        """Embed images in one pass.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255, resized to the model's
                square input without keeping the aspect ratio.

        Returns:
            SegmenterEmbeddings: Tokens at SAM 2's stride 16, and finer maps
            at strides 4 and 8.
        """
        if self.pixel_mean.device != rgb.device:
            self.to(rgb.device)
        size = self.model.image_size
        with self._context(rgb.device):
            # sam2's transform also resizes before it normalises, and
            # torchvision's Resize, which it uses, antialiases tensors.
            x = F.interpolate(
                rgb.float(),
                (size, size),
                mode='bilinear',
                align_corners=False,
                antialias=True,
            )
            x = (x - self.pixel_mean) / self.pixel_std
            maps = self.model.forward_image(x)['backbone_fpn']
            maps = maps[-self.model.num_feature_levels :]
            image_embed = maps[-1]
            if self.model.directly_add_no_mem_embed:
                token = self.model.no_mem_embed.view(1, -1, 1, 1)
                image_embed = image_embed + token
        return SegmenterEmbeddings(
            image_embed, list(maps[:-1]), spatial_size(rgb)
        )

    def decode(
        self,
        embeddings: SegmenterEmbeddings,
        image_ids: Tensor,
        points: Tensor | None = None,
        boxes: Tensor | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts; see :meth:`PromptableSegmenter.decode`.

        Logits have a quarter of the model's input size (256 x 256 at 1024)
        and cover the padded image.

        Raises:
            ValueError: unless either points or boxes are given.
        """
        if (points is None) == (boxes is None):
            raise ValueError('give either points or boxes')
        coords, labels = self._prompts(points, boxes, embeddings.image_size)
        logits, ious = [], []
        decoder = self.model.sam_mask_decoder
        with self._context(coords.device):
            dense_pe = self.model.sam_prompt_encoder.get_dense_pe()
            # Chunks of equal size, which need the least memory.
            chunks = math.ceil(len(coords) / self.decode_chunk(embeddings))
            step = math.ceil(len(coords) / max(1, chunks))
            for start in range(0, len(coords), max(1, step)):
                part = slice(start, start + step)
                sparse, dense = self.model.sam_prompt_encoder(
                    points=(coords[part], labels[part]), boxes=None, masks=None
                )
                image_embed, high_res = embeddings.select(image_ids[part])
                out = decoder(
                    image_embeddings=image_embed,
                    image_pe=dense_pe,
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=multimask,
                    repeat_image=False,
                    high_res_features=high_res,
                )
                logits.append(out[0].float())
                ious.append(out[1].float())
        if not logits:
            side = 4 * embeddings.grid_size[0]
            n_masks = decoder.num_multimask_outputs if multimask else 1
            empty = coords.new_zeros(0, n_masks)
            return coords.new_zeros(0, n_masks, side, side), empty
        return torch.cat(logits), torch.cat(ious)

    def similarity(
        self, embeddings: SegmenterEmbeddings, points: Tensor
    ) -> Tensor:
        """Compute rows of the self-similarity C of decoder tokens (S4M).

        Row p holds the cosine similarity of the token under point p with all
        tokens of the map that was conditioned on point p alone, taken after
        the last two-way block. The layers after it do not run, and what is
        equal for all prompts of an image is computed once. At most
        ``chunk_size`` token maps exist at a time.

        Args:
            embeddings (SegmenterEmbeddings): Embeddings of B images.
            points (Tensor): (B, P, 2) points (x, y) in pixels of the padded
                image.

        Returns:
            Tensor: (B, P, h * w) fp32 cosine similarities.
        """
        num_images, num_points = points.shape[:2]
        grid = embeddings.grid_size
        coords, labels = self._prompts(
            points.reshape(-1, 1, 2), None, embeddings.image_size
        )
        index = token_index(points, embeddings.image_size, grid)
        encoder = self.model.sam_prompt_encoder
        rows = points.new_empty(
            (num_images, num_points, grid[0] * grid[1]), dtype=torch.float32
        )
        with self._context(points.device):
            dense_pe = encoder.get_dense_pe().flatten(2).transpose(1, 2)
            keys = embeddings.image_embed.flatten(2).transpose(1, 2)
            keys = keys + encoder.no_mask_embed.weight
            sparse, _ = encoder(
                points=(coords, labels), boxes=None, masks=None
            )
            tokens = self._output_tokens(sparse)
            tokens = tokens.view(num_images, num_points, *tokens.shape[1:])
            step = max(1, self.chunk_size // num_images)
            for start in range(0, num_points, step):
                part = slice(start, start + step)
                maps = self._two_way(keys, dense_pe, tokens[:, part])
                rows[:, part] = cosine_rows(maps, index[:, part])
        return rows

    def decode_chunk(self, embeddings: SegmenterEmbeddings) -> int:
        """Return the number of prompts in a chunk, smaller on a CPU."""
        if embeddings.image_embed.device.type != 'cpu':
            return self.chunk_size
        height, width = embeddings.grid_size
        return max(1, min(self.chunk_size, _CPU_TOKENS // (height * width)))

    def _context(self, device: torch.device) -> AbstractContextManager:
        return sam2_precision(self.model, self.dtype, self.frozen, device)

    def _prompts(
        self,
        points: Tensor | None,
        boxes: Tensor | None,
        image_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Return coordinates in the model's pixels, and sam2's labels."""
        if points is not None:
            coords = points
            labels = torch.ones(
                points.shape[:2], dtype=torch.int, device=points.device
            )
        else:
            assert boxes is not None
            coords = boxes.view(-1, 2, 2)
            # sam2 takes a box as two points with the labels 2 and 3.
            labels = torch.arange(
                2, 4, dtype=torch.int, device=boxes.device
            ).expand(len(boxes), -1)
        x, y = coords.float().unbind(-1)
        height, width = image_size
        coords = torch.stack([x / width, y / height], dim=-1)
        return coords * self.model.image_size, labels

    def _output_tokens(self, sparse: Tensor) -> Tensor:
        """Put sam2's output tokens before the tokens of the prompts."""
        decoder = self.model.sam_mask_decoder
        weights = [decoder.iou_token.weight, decoder.mask_tokens.weight]
        if decoder.pred_obj_scores:
            weights.insert(0, decoder.obj_score_token.weight)
        tokens = torch.cat(weights).expand(len(sparse), -1, -1)
        return torch.cat([tokens, sparse], dim=1)

    def _two_way(self, keys: Tensor, key_pe: Tensor, tokens: Tensor) -> Tensor:
        """Run sam2's two-way blocks for P prompts of each of B images.

        Args:
            keys (Tensor): (B, L, C) image tokens.
            key_pe (Tensor): (1, L, C) position embeddings of image tokens.
            tokens (Tensor): (B, P, T, C) prompt tokens.

        Returns:
            Tensor: (B, P, L, C) image tokens after the last block.
        """
        num_images, num_prompts, num_tokens, channels = tokens.shape
        first, *rest = self.model.sam_mask_decoder.transformer.layers
        flat = (num_images * num_prompts, num_tokens, channels)
        token_pe = tokens.reshape(flat)

        # Before the first block the image tokens are equal for all prompts of
        # an image, and so are their projections. A token's attention over the
        # image does not depend on other tokens, so all prompts form one long
        # query sequence.
        assert first.skip_first_layer_pe
        queries = first.norm1(
            first.self_attn(q=token_pe, k=token_pe, v=token_pe)
        )
        joint = (num_images, num_prompts * num_tokens, channels)
        k = keys + key_pe
        attended = first.cross_attn_token_to_image(
            q=(queries + token_pe).view(joint), k=k, v=keys
        )
        queries = first.norm2(queries + attended.view(flat))
        queries = first.norm3(queries + first.mlp(queries))
        attention = first.cross_attn_image_to_token
        heads = attention.num_heads
        q = attention._separate_heads(attention.q_proj(k), heads)
        q = q.repeat_interleave(num_prompts, dim=0)
        update = F.scaled_dot_product_attention(
            q,
            attention._separate_heads(
                attention.k_proj(queries + token_pe), heads
            ),
            attention._separate_heads(attention.v_proj(queries), heads),
        )
        update = attention.out_proj(attention._recombine_heads(update))
        maps = keys[:, None] + update.view(
            num_images, num_prompts, *keys.shape[1:]
        )
        maps = first.norm4(maps).flatten(0, 1)

        for layer in rest:
            queries, maps = layer(
                queries=queries, keys=maps, query_pe=token_pe, key_pe=key_pe
            )
        return maps.view(num_images, num_prompts, *maps.shape[1:])
