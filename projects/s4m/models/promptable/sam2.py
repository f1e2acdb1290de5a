# SPDX-License-Identifier: Apache-2.0
"""SAM 2 as a batched promptable segmenter."""

from __future__ import annotations

import hashlib
import importlib
import pickle
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor, nn

from s4m.utils.checkpoints import compare_state_dicts

from .promptable_segmenter import (
    PromptableSegmenter,
    SegmenterEmbeddings,
    token_index,
)

#: Short names of sam2's stock configs, as in the names of its checkpoints.
STOCK_CONFIGS = {
    f'{version}_hiera_{short}': (
        f'configs/{version}/{version}_hiera_{file}.yaml'
    )
    for version in ('sam2', 'sam2.1')
    for short, file in (
        ('tiny', 't'),
        ('small', 's'),
        ('base_plus', 'b+'),
        ('large', 'l'),
    )
}

#: The tiny SAM 2 that this project trained itself, for its demo and tests.
ASSETS = Path(__file__).resolve().parents[2] / 'assets'
SHIPPED = {'nano_sam2': (ASSETS / 'nano_sam2.yaml', ASSETS / 'nano_sam2.pt')}

# Parameters that only videos use. SAM's image path never reads them, so a
# checkpoint made for images may leave them out.
VIDEO_ONLY = (
    'memory_attention.',
    'memory_encoder.',
    'maskmem_tpos_enc',
    'no_mem_pos_enc',
    'no_obj_ptr',
    'no_obj_embed_spatial',
    'mask_downsample.',
    'obj_ptr_proj.',
    'obj_ptr_tpos_proj.',
)

_PIXEL_MEAN = (0.485, 0.456, 0.406)
_PIXEL_STD = (0.229, 0.224, 0.225)
_DTYPES = ('float32', 'bfloat16', 'float16')

# Image tokens of all prompts of a decoder call on a CPU: beyond it, the maps
# leave the caches and a prompt takes up to 1.7 times as long
# (docs/benchmarks.md).
_CPU_TOKENS = 8192


@contextmanager
def _no_global_hydra():
    """Undo sam2's initialisation of Hydra's global state on import.

    An application of the user's that uses Hydra itself would otherwise fail
    with "GlobalHydra is already initialized".
    """
    from hydra.core.global_hydra import GlobalHydra

    was_initialized = GlobalHydra.instance().is_initialized()
    try:
        yield
    finally:
        if not was_initialized:
            GlobalHydra.instance().clear()


def build_sam2_model(config: str, image_size: int | None = None) -> nn.Module:
    """Instantiate sam2's model from a yaml, without Hydra's global state.

    Args:
        config (str): ``sam2[.1]_hiera_{tiny,small,base_plus,large}``,
            ``nano_sam2``, or the path of a yaml in sam2's layout.
        image_size (int, optional): Input side in pixels, instead of the
            yaml's.

    Returns:
        nn.Module: ``SAM2Base`` with random weights, in eval mode.

    Raises:
        ImportError: if sam2 is not installed.
        FileNotFoundError: if ``config`` is neither a known name nor a file.
    """
    try:
        with _no_global_hydra():
            sam2 = importlib.import_module('sam2')
    except ImportError as e:
        raise ImportError(
            'SAM2Segmenter needs the package sam2: '
            'SAM2_BUILD_CUDA=0 pip install sam2 --no-build-isolation'
        ) from e
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    if config in STOCK_CONFIGS:
        path = Path(sam2.__path__[0]) / STOCK_CONFIGS[config]
    elif config in SHIPPED:
        path = SHIPPED[config][0]
    else:
        path = Path(config)
    if not path.is_file():
        names = ', '.join([*STOCK_CONFIGS, *SHIPPED])
        raise FileNotFoundError(
            f'SAM2 config {config!r} is neither a file nor one of {names}.'
        )
    cfg = OmegaConf.load(path)
    if 'model' not in cfg:
        raise ValueError(
            f"SAM2 config {path} has no 'model' entry; see sam2's own yaml "
            'files for the layout.'
        )
    if image_size is not None:
        cfg.model.image_size = image_size
    OmegaConf.resolve(cfg)
    return instantiate(cfg.model, _recursive_=True).eval()


def load_sam2_checkpoint(
    model: nn.Module, checkpoint: str, sha256: str | None = None
) -> None:
    """Load a sam2 checkpoint ``{'model': state_dict}`` strictly.

    Args:
        model (nn.Module): ``SAM2Base``.
        checkpoint (str): a file, or ``nano_sam2``.
        sha256 (str, optional): expected digest, or its first characters.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the digest differs, the file is damaged, or its keys
            or shapes are not those of ``model``.
    """
    if checkpoint in SHIPPED:
        path = SHIPPED[checkpoint][1]
    else:
        path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'SAM2 checkpoint {path} does not exist. The official ones are '
            'listed at https://github.com/facebookresearch/sam2#download-'
            'checkpoints; put the file there, or set the '
            "segmenter's `checkpoint` to where it is."
        )
    if sha256 is not None:
        with path.open('rb') as f:
            digest = hashlib.file_digest(f, 'sha256').hexdigest()
        if not digest.startswith(sha256.lower()):
            raise ValueError(
                f'SAM2 checkpoint {path} has sha256 {digest}, expected '
                f'{sha256}: the download is incomplete or another file.'
            )
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as e:
        raise ValueError(
            f'SAM2 checkpoint {path} cannot be read ({e}): it is truncated '
            'or not a PyTorch file. Download it again.'
        ) from e
    state = state.get('model') if isinstance(state, dict) else None
    if not isinstance(state, dict):
        raise ValueError(
            f"SAM2 checkpoint {path} has no 'model' entry: it is not a "
            'checkpoint of sam2.'
        )
    missing, unexpected, shapes = compare_state_dicts(
        model.state_dict(), state, optional=VIDEO_ONLY
    )
    if missing or unexpected or shapes:
        raise ValueError(
            f'SAM2 checkpoint {path} does not fit the configured model: '
            f'{_some("missing", missing)}, {_some("unexpected", unexpected)}, '
            f'{_some("of another shape", shapes)}. '
            "Is the segmenter's `config` the one of this checkpoint?"
        )
    model.load_state_dict(state, strict=False)


def _some(what: str, keys: list[str]) -> str:
    shown = ', '.join(keys[:3]) + (', ...' if len(keys) > 3 else '')
    return f'{len(keys)} {what}' + (f' ({shown})' if keys else '')


@MODELS.register_module()
class SAM2Segmenter(PromptableSegmenter):
    """`Segment Anything Model 2 <https://arxiv.org/abs/2408.00714>`_.

    All calls take a whole batch. Prompts run in chunks of ``chunk_size``,
    which bounds the memory: about 60 MiB a prompt in fp32 at 1024 pixels.

    Args:
        config (str): ``sam2[.1]_hiera_{tiny,small,base_plus,large}``,
            ``nano_sam2``, or the path of a yaml in sam2's layout.
        checkpoint (str, optional): a file in sam2's layout, or
            ``nano_sam2``. None leaves the weights random, with a warning.
        sha256 (str, optional): Expected digest of the checkpoint.
        image_size (int, optional): Input side in pixels instead of the
            yaml's.
        chunk_size (int): Most prompts that are decoded at once; see
            :meth:`decode_chunk`.
        dtype (str): ``float32``, ``bfloat16`` or ``float16``: the autocast
            dtype of encoder and decoder, whatever the surrounding autocast.
        frozen (bool): See :class:`PromptableSegmenter`. One that trains reads its
            checkpoint in :meth:`init_weights`, as MMDet's modules do: what
            was trained is in its owner's checkpoint.
        trainable (Sequence[str], optional): Submodules of sam2's model that
            train, such as ``image_encoder.neck``; by default all of it.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        config: str,
        checkpoint: str | None,
        sha256: str | None = None,
        image_size: int | None = None,
        chunk_size: int = 32,
        dtype: str = 'float32',
        frozen: bool = True,
        trainable: Sequence[str] | None = None,
    ) -> None:
        super().__init__(frozen)
        if chunk_size < 1:
            raise ValueError(f'chunk_size must be >= 1, got {chunk_size}')
        if dtype not in _DTYPES:
            raise ValueError(f'dtype must be one of {_DTYPES}, got {dtype!r}')
        self.chunk_size = chunk_size
        self.dtype = getattr(torch, dtype)
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
        for name in trainable or ():
            if frozen or name not in dict(self.model.named_modules()):
                raise ValueError(
                    f'trainable={name!r}: '
                    + (
                        'the segmenter is frozen'
                        if frozen
                        else 'sam2 has no such module'
                    )
                )
            self.model.get_submodule(name).requires_grad_()
        self.train(not frozen)

    def init_weights(self) -> None:
        """Read the checkpoint of a segmenter that trains."""
        if self.checkpoint is not None and not self.frozen:
            load_sam2_checkpoint(self.model, self.checkpoint, self.sha256)

    # ------------------------------------------------------------ public
    def encode(self, rgb: Tensor) -> SegmenterEmbeddings:
        """Embed images in one pass.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255, resized to the model's
                square input without keeping the aspect ratio.

        Returns:
            SegmenterEmbeddings: at SAM 2's stride 16, and 4 and 8.
        """
        if self.pixel_mean.device != rgb.device:
            self.to(rgb.device)
        size = self.model.image_size
        with self._context(rgb.device):
            # The order of sam2's own transform: scale, resize, normalise.
            # With antialiasing, as torchvision's Resize does on tensors.
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
            image_embed, list(maps[:-1]), tuple(rgb.shape[-2:])
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

        Logits are at a quarter of the model's input size (256 x 256 at 1024)
        and cover the whole canvas.
        """
        if (points is None) == (boxes is None):
            raise ValueError('give either points or boxes')
        coords, labels = self._prompts(points, boxes, embeddings.canvas_size)
        logits, ious = [], []
        decoder = self.model.sam_mask_decoder
        with self._context(coords.device):
            dense_pe = self.model.sam_prompt_encoder.get_dense_pe()
            step = self.decode_chunk(embeddings)
            for start in range(0, len(coords), step):
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
        """Rows of the self-similarity of decoder tokens (S4M, Eq. for C).

        Row p holds the cosine similarity of the token under point p with all
        tokens of the map that was conditioned on point p alone, taken after
        the last two-way block. The final attention, the up-scaling and the
        hyper-networks are not run, and what is the same for all prompts of
        an image is computed once. At most ``chunk_size`` token maps exist at
        a time.

        Args:
            embeddings (SegmenterEmbeddings): of B images.
            points (Tensor): (B, P, 2) as (x, y) in pixels of the canvas.

        Returns:
            Tensor: (B, P, h * w) in fp32.
        """
        num_images, num_points = points.shape[:2]
        grid = embeddings.grid_size
        coords, labels = self._prompts(
            points.reshape(-1, 1, 2), None, embeddings.canvas_size
        )
        index = token_index(points, embeddings.canvas_size, grid)
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
                rows[:, part] = _cosine_rows(maps, index[:, part])
        return rows

    def decode_chunk(self, embeddings: SegmenterEmbeddings) -> int:
        """Prompts that :meth:`decode` runs at once: fewer on a CPU."""
        if embeddings.image_embed.device.type != 'cpu':
            return self.chunk_size
        height, width = embeddings.grid_size
        return max(1, min(self.chunk_size, _CPU_TOKENS // (height * width)))

    # ----------------------------------------------------------- private
    @contextmanager
    def _context(self, device: torch.device):
        autocast = torch.autocast(
            device.type, self.dtype, enabled=self.dtype != torch.float32
        )
        with torch.no_grad() if self.frozen else nullcontext(), autocast:
            yield

    def _prompts(
        self,
        points: Tensor | None,
        boxes: Tensor | None,
        canvas_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Prompt coordinates in the model's pixels, and sam2's labels."""
        coords = points if points is not None else boxes.view(-1, 2, 2)
        height, width = canvas_size
        canvas = coords.new_tensor([width, height], dtype=torch.float32)
        coords = coords.float() / canvas * self.model.image_size
        if points is not None:
            labels = torch.ones(
                coords.shape[:2], dtype=torch.int, device=coords.device
            )
        else:
            labels = torch.tensor(
                [[2, 3]], dtype=torch.int, device=coords.device
            ).expand(len(coords), -1)
        return coords, labels

    def _output_tokens(self, sparse: Tensor) -> Tensor:
        """Output tokens before the prompt's, as sam2's mask decoder has."""
        decoder = self.model.sam_mask_decoder
        tokens = [decoder.iou_token.weight, decoder.mask_tokens.weight]
        if decoder.pred_obj_scores:
            tokens.insert(0, decoder.obj_score_token.weight)
        tokens = torch.cat(tokens).expand(len(sparse), -1, -1)
        return torch.cat([tokens, sparse], dim=1)

    def _two_way(self, keys: Tensor, key_pe: Tensor, tokens: Tensor) -> Tensor:
        """sam2's two-way blocks for P prompts of each of B images.

        Args:
            keys (Tensor): (B, L, C) image tokens.
            key_pe (Tensor): (1, L, C) their positions.
            tokens (Tensor): (B, P, T, C) prompt tokens.

        Returns:
            Tensor: (B, P, L, C) image tokens after the last block.
        """
        num_images, num_prompts, num_tokens, channels = tokens.shape
        first, *rest = self.model.sam_mask_decoder.transformer.layers
        flat = (num_images * num_prompts, num_tokens, channels)
        token_pe = tokens.reshape(flat)

        # First block: the image tokens are still the same for all prompts of
        # an image, so their projections are too. A token's attention over
        # the image does not depend on other tokens: all prompts go in one
        # long query sequence.
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


def _cosine_rows(maps: Tensor, index: Tensor) -> Tensor:
    """Cosines of one token of each map with all of them, in fp32.

    Args:
        maps (Tensor): (B, P, L, C).
        index (Tensor): (B, P).

    Returns:
        Tensor: (B, P, L).
    """
    with torch.autocast(maps.device.type, enabled=False):
        maps = F.normalize(maps.float(), dim=-1)
        at = index[:, :, None, None].expand(-1, -1, 1, maps.shape[-1])
        return (maps @ maps.gather(2, at).transpose(2, 3)).squeeze(3)
