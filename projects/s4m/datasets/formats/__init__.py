# SPDX-License-Identifier: Apache-2.0
"""Labels of annotation tools: read and written as COCO dictionaries."""

from .labelled_set import LabelledSet
from .reading import read_labels
from .recognition import FORMATS
from .writing import WrittenLabels, write_labels

__all__ = [
    'FORMATS',
    'LabelledSet',
    'WrittenLabels',
    'read_labels',
    'write_labels',
]
