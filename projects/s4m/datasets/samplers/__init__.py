# SPDX-License-Identifier: Apache-2.0
from .semi_sampler import SemiSampler, repeat_factors

__all__ = ['SemiSampler', 'repeat_factors']
