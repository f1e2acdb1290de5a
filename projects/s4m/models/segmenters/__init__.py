# SPDX-License-Identifier: Apache-2.0
from .base import (
    BaseSegmenter,
    SegmenterEmbeddings,
    attach_segmenter,
    best_mask,
    detach_segmenter,
    token_index,
)
from .sam2_segmenter import SAM2Segmenter

__all__ = [
    'BaseSegmenter',
    'SAM2Segmenter',
    'SegmenterEmbeddings',
    'attach_segmenter',
    'best_mask',
    'detach_segmenter',
    'token_index',
]
