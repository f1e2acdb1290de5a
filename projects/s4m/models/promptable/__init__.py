# SPDX-License-Identifier: Apache-2.0
from .promptable_segmenter import (
    PromptableSegmenter,
    SegmenterEmbeddings,
    best_mask,
    token_index,
)
from .sam2 import SAM2Segmenter
from .segmenter_owner import SegmenterOwner

__all__ = [
    'PromptableSegmenter',
    'SAM2Segmenter',
    'SegmenterEmbeddings',
    'SegmenterOwner',
    'best_mask',
    'token_index',
]
