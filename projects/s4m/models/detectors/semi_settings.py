# SPDX-License-Identifier: Apache-2.0
"""Settings of a semi-supervised training."""

from __future__ import annotations

import math
from typing import Any

from mmdet.utils import OptConfigType

_DEFAULTS = dict(sup_weight=1.0, unsup_weight=2.0, bn_stats='all')
#: What MMDetection's SemiBaseDetector reads.
_OF_MMDET = ('freeze_teacher',)


def train_settings(cfg: OptConfigType) -> dict[str, Any]:
    """Check ``semi_train_cfg`` and add the defaults.

    Args:
        cfg (dict, optional): ``sup_weight``, ``unsup_weight``, ``bn_stats``
            and MMDetection's ``freeze_teacher``, each optional.

    Raises:
        ValueError: if a key is unknown or a weight is no number of at least
            0.

    Example:
        >>> train_settings(dict(unsup_weight=0.5))['sup_weight']
        1.0
    """
    settings = {**_DEFAULTS, **(cfg or {})}
    unknown = sorted(set(settings) - {*_DEFAULTS, *_OF_MMDET})
    if unknown:
        raise ValueError(
            f'model.semi_train_cfg has {unknown}, which nothing reads; there '
            f'are {sorted({*_DEFAULTS, *_OF_MMDET})}'
        )
    for name in ('sup_weight', 'unsup_weight'):
        value = settings[name]
        is_number = isinstance(value, int | float) and math.isfinite(value)
        if not is_number or value < 0:
            raise ValueError(
                f'model.semi_train_cfg.{name} must be a number >= 0, got '
                f'{value!r}'
            )
    return settings
