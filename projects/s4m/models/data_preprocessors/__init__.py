# SPDX-License-Identifier: Apache-2.0
from .semi_data_preprocessor import SemiDataPreprocessor, to_rgb

__all__ = ['SemiDataPreprocessor', 'to_rgb']
