# SPDX-License-Identifier: Apache-2.0
"""Plain vision transformers as multi-scale backbones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from s4m.utils.checkpoints import load_strictly, read_weights

from .vit_weights import load_vit

_PLAIN = ('timm.models.vision_transformer', 'timm.models.deit')

_RESAMPLES = ('bilinear', 'nearest', 'conv')
_FITS = ('pad', 'stretch')


@MODELS.register_module()
class ViTFeaturePyramid(BaseModule):
    """A timm vision transformer with outputs at several strides.

    As in `Guided Distillation <https://arxiv.org/abs/2308.02668>`_, the grid
    of patch tokens is interpolated to each stride, and one 1x1 convolution
    for each level sets the channels. Here the convolution runs first: it
    commutes with the interpolation and is cheaper on the patch grid. Position
    embeddings are interpolated to the input. The paper describes bilinear
    interpolation and an input padded to full patches; the released code takes
    the nearest token (``resample='nearest'``) of an input that is stretched
    to full patches (``fit='stretch'``).

    As in `DPT <https://arxiv.org/abs/2103.13413>`_ and in SSKD's student, the
    levels can read different blocks (``out_indices``), and convolutions can
    change the resolution (``resample='conv'``): transposed ones for finer
    strides, a 3x3 one of stride 2 for a coarser stride.

    Args:
        arch (str): Name of a timm vision transformer, such as
            ``vit_base_patch14_dinov2`` or ``deit_base_patch16_384``.
        out_channels (int | Sequence[int]): Number of channels, one for all
            levels or one for each. Defaults to 256.
        strides (Sequence[float]): Strides of the levels in input pixels. With
            ``conv`` they are powers of two times the patch, for instance 3.5,
            7, 14, 28. Defaults to 4, 8, 16, 32.
        out_indices (Sequence[int], optional): Index of the block that each
            level reads. Defaults to the last block for all levels.
        resample (str): ``bilinear``, ``nearest`` or ``conv``. Defaults to
            ``bilinear``.
        fit (str): How the input gets full patches: ``pad`` adds the mean
            pixel, which is 0 after normalisation, at the right and at the
            bottom; ``stretch`` resizes the input bilinearly. Defaults to
            ``pad``.
        vit_cfg (dict, optional): Arguments of timm's ``VisionTransformer``
            that replace those of ``arch``, such as ``depth`` or
            ``patch_size``.
        frozen (bool): Whether the transformer stays as it was loaded, in eval
            mode and without gradients. The convolutions train. Defaults to
            False.
        with_cp (bool): Whether the blocks use activation checkpointing.
            Defaults to False.
        drop_path_rate (float): Rate of stochastic depth. Defaults to 0.
        init_cfg (dict, optional): ``dict(type='Pretrained', checkpoint=...)``
            loads the transformer from a DINOv2 or DeiT file of its authors,
            or from a file in timm's or in transformers' (DINOv2) key names;
            ``.pth``, ``.bin`` or ``.safetensors``. With
            ``prefix='backbone.'`` it loads the whole backbone from the
            checkpoint of a detector.

    Raises:
        ValueError: if timm has no plain vision transformer of this name, or
            an argument is out of range.

    Example:
        >>> backbone = dict(
        ...     type='ViTFeaturePyramid',
        ...     arch='vit_base_patch14_dinov2',
        ...     strides=(3.5, 7, 14, 28),
        ...     out_indices=(2, 5, 8, 11),
        ...     resample='conv',
        ...     init_cfg=dict(type='Pretrained', checkpoint='dinov2_b.pth'))
    """

    def __init__(
        self,
        arch: str,
        out_channels: int | Sequence[int] = 256,
        strides: Sequence[float] = (4, 8, 16, 32),
        out_indices: Sequence[int] | None = None,
        resample: str = 'bilinear',
        fit: str = 'pad',
        vit_cfg: dict | None = None,
        frozen: bool = False,
        with_cp: bool = False,
        drop_path_rate: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        # Importing timm takes a second of every start: only here.
        import timm
        from timm.models.vision_transformer import VisionTransformer

        if not timm.is_model(arch):
            near = timm.list_models(f'*{arch[:5]}*')[:8]
            raise ValueError(f'timm has no model {arch!r}; it has {near} ...')
        where = timm.model_entrypoint(arch).__module__
        if where not in _PLAIN:
            raise ValueError(
                f'{arch!r} ({where}) is not a plain vision transformer'
            )
        vit = timm.create_model(
            arch,
            pretrained=False,
            num_classes=0,
            dynamic_img_size=True,
            drop_path_rate=drop_path_rate,
            **(vit_cfg or {}),
        )
        assert isinstance(vit, VisionTransformer)
        vit.set_grad_checkpointing(with_cp)
        self.vit = vit
        self.arch = arch
        self.patch_size: int = vit.patch_embed.patch_size[0]
        self.strides = tuple(strides)
        self.frozen = frozen
        if isinstance(out_channels, int):
            out_channels = [out_channels] * len(self.strides)
        self.out_indices = self._blocks(out_indices)
        if len(out_channels) != len(self.strides):
            raise ValueError(
                f'{len(self.strides)} strides, but out_channels has '
                f'{len(out_channels)} values'
            )
        self.convs = nn.ModuleList(
            nn.Conv2d(vit.embed_dim, channels, 1) for channels in out_channels
        )
        for name, value, choices in (
            ('resample', resample, _RESAMPLES),
            ('fit', fit, _FITS),
        ):
            if value not in choices:
                raise ValueError(
                    f'{name} must be one of {choices}, got {value!r}'
                )
        if resample == 'conv' and fit == 'stretch':
            raise ValueError(
                "resample='conv' goes with fit='pad': its strides are powers "
                'of two times the patch of the input itself'
            )
        self.resample = resample
        self.fit = fit
        if resample == 'conv':
            self.resamplers = nn.ModuleList(
                _resampler(channels, self.patch_size, stride)
                for channels, stride in zip(
                    out_channels, self.strides, strict=True
                )
            )
        if frozen:
            self.vit.requires_grad_(False)
        self.train(self.training)

    def _blocks(self, indices: Sequence[int] | None) -> tuple[int, ...]:
        """Check the index of the block of each level, or take the last."""
        depth = len(self.vit.blocks)
        if indices is None:
            indices = [depth - 1] * len(self.strides)
        if len(indices) != len(self.strides):
            raise ValueError(
                f'{len(self.strides)} strides, but out_indices has '
                f'{len(indices)} blocks'
            )
        if not all(0 <= i < depth for i in indices):
            raise ValueError(
                f'out_indices must be blocks 0 to {depth - 1} of '
                f'{self.arch}, got {tuple(indices)}'
            )
        return tuple(indices)

    def init_weights(self) -> None:
        """Load the transformer where ``init_cfg`` names a file."""
        if self.init_cfg is None:
            return
        file, prefix = self.init_cfg['checkpoint'], self.init_cfg.get('prefix')
        if prefix is None:
            load_vit(self.vit, file, self.arch)
        else:
            load_strictly(
                self,
                {
                    k.removeprefix(prefix): v
                    for k, v in read_weights(file).items()
                    if k.startswith(prefix)
                },
                f'{prefix} of {file}',
            )

    def train(self, mode: bool = True) -> ViTFeaturePyramid:
        """Set the mode; a frozen transformer stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.vit.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of normalised images.

        Args:
            x (Tensor): (B, 3, H, W) normalised images.

        Returns:
            tuple[Tensor]: (B, C, ceil(H / s), ceil(W / s)) for each stride s.
            See :meth:`centres` for the pixel that a position shows.
        """
        height, width = x.shape[-2:]
        size = self._full_patches(height), self._full_patches(width)
        if self.fit == 'pad':
            x = F.pad(x, (0, size[1] - width, 0, size[0] - height))
        elif size != (height, width):
            x = F.interpolate(x, size, mode='bilinear', align_corners=False)
        blocks = sorted(set(self.out_indices))
        with torch.no_grad() if self.frozen else nullcontext():
            tokens = self.vit.forward_intermediates(
                x, indices=blocks, norm=True, intermediates_only=True
            )
        by_block = dict(zip(blocks, tokens, strict=True))
        outs = []
        for level, stride in enumerate(self.strides):
            out = self.convs[level](by_block[self.out_indices[level]])
            rows, cols = math.ceil(height / stride), math.ceil(width / stride)
            if self.resample == 'conv':
                out = self.resamplers[level](out)
            else:
                out = self._interpolate(out, stride, (rows, cols))
            outs.append(out[:, :, :rows, :cols].contiguous())
        return tuple(outs)

    def _interpolate(
        self, x: Tensor, stride: float, size: tuple[int, int]
    ) -> Tensor:
        """Resize the patch grid to a level of at least ``size`` positions."""
        align = None if self.resample == 'nearest' else False
        if self.fit == 'stretch':
            # The grid covers the whole input at any size.
            return F.interpolate(
                x, size, mode=self.resample, align_corners=align
            )
        if stride == self.patch_size:
            return x
        # By the scale and not the size, so that positions do not depend on
        # the amount of padding.
        return F.interpolate(
            x,
            scale_factor=self.patch_size / stride,
            mode=self.resample,
            align_corners=align,
            recompute_scale_factor=False,
        )

    def centres(self, level: int, length: int) -> Tensor:
        """Compute where a level's positions lie along one axis of the input.

        Position i of stride s is centred at ``(i + 0.5) * s``. The 3x3
        convolution of stride 2 is centred on every second patch, so with
        ``s = 2 * patch`` the centre is ``(2 * i + 0.5) * patch``. With
        ``stretch`` the n positions cover the length, and the centre is
        ``(i + 0.5) * length / n``.

        Args:
            level (int): Index of the level; may be negative.
            length (int): Height or width of the input in pixels.

        Returns:
            Tensor: (n, ) fp32 coordinates in pixels, where n is the height or
            width of the level.
        """
        stride = self.strides[level]
        index = torch.arange(math.ceil(length / stride))
        if self.resample == 'conv':
            return index * stride + min(stride, self.patch_size) / 2
        if self.fit == 'stretch':
            return (index + 0.5) * (length / len(index))
        return (index + 0.5) * stride

    def _full_patches(self, length: int) -> int:
        """Round a length up to full patches for all levels.

        An interpolated level needs an input that covers all its positions. A
        strided convolution pads its input, and a stretched grid covers the
        input at any stride, so there full patches are enough.
        """
        covered: float = length
        if self.resample != 'conv' and self.fit == 'pad':
            coarsest = max(self.strides)
            covered = math.ceil(length / coarsest) * coarsest
        return math.ceil(covered / self.patch_size) * self.patch_size


def _resampler(channels: int, patch: int, stride: float) -> nn.Module:
    """Build DPT's convolution from the patch grid to a stride.

    Raises:
        ValueError: if DPT has no convolution for this stride.
    """
    factor = patch / stride
    if factor == 1:
        return nn.Identity()
    if factor == 0.5:
        return nn.Conv2d(channels, channels, 3, stride=2, padding=1)
    if factor in (2, 4):
        return nn.ConvTranspose2d(channels, channels, int(factor), int(factor))
    raise ValueError(
        f"resample='conv' with patches of {patch} makes strides "
        f'{patch / 4:g}, {patch / 2:g}, {patch} and {2 * patch}, not {stride}'
    )
