# SPDX-License-Identifier: Apache-2.0
from .lazy_masks import LazyMasks
from .pseudo_instances import (
    PseudoLabelSteps,
    check_pseudo_instances,
    join_instances,
    project_pseudo_instances,
    replace_fields,
)

__all__ = [
    'LazyMasks',
    'PseudoLabelSteps',
    'check_pseudo_instances',
    'join_instances',
    'project_pseudo_instances',
    'replace_fields',
]
