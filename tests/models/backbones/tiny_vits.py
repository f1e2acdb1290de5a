# SPDX-License-Identifier: Apache-2.0
"""Vision transformers of a few channels among timm's models."""

from __future__ import annotations

from functools import cache


@cache
def register_tiny_vits() -> tuple[str, str]:
    """Small models under timm's own classes: (patch 14 + ls) and patch 16."""
    from timm.models import register_model
    from timm.models.vision_transformer import VisionTransformer

    def vit_tiny_test_dinov2(**kwargs):
        return _build(14, 1e-5, 56, **kwargs)

    def vit_tiny_test_deit(**kwargs):
        return _build(16, None, 64, **kwargs)

    def _build(patch, init_values, size, **kwargs):
        for key in ('pretrained', 'pretrained_cfg', 'cache_dir'):
            kwargs.pop(key, None)
        kwargs.pop('pretrained_cfg_overlay', None)
        return VisionTransformer(
            img_size=size,
            patch_size=patch,
            embed_dim=32,
            depth=2,
            num_heads=2,
            init_values=init_values,
            **kwargs,
        )

    for function in (vit_tiny_test_dinov2, vit_tiny_test_deit):
        function.__module__ = 'timm.models.vision_transformer'
        register_model(function)
    return ('vit_tiny_test_dinov2', 'vit_tiny_test_deit')
