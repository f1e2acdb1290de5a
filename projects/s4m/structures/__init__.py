# SPDX-License-Identifier: Apache-2.0
from .lazy_masks import LazyMasks

__all__ = ['LazyMasks']
