# SPDX-License-Identifier: Apache-2.0
"""The model inside of a distributed wrapper."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner


def unwrapped_model(runner: Runner) -> Any:
    """Return a runner's model without the wrapper of distributed training."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model
