# SPDX-License-Identifier: Apache-2.0
from .promptable_segmenter import (
    PromptableSegmenter,
    SegmenterEmbeddings,
    attach_segmenter,
    best_mask,
    detach_segmenter,
    token_index,
)
from .sam2 import SAM2Segmenter

__all__ = [
    'PromptableSegmenter',
    'SAM2Segmenter',
    'SegmenterEmbeddings',
    'attach_segmenter',
    'best_mask',
    'detach_segmenter',
    'token_index',
]
