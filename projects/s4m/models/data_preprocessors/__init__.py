# SPDX-License-Identifier: Apache-2.0
from .semi_data_preprocessor import SemiDataPreprocessor

__all__ = ['SemiDataPreprocessor']
