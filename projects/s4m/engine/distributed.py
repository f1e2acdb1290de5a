# SPDX-License-Identifier: Apache-2.0
"""Distributed training, with or without GPUs."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn

from s4m.models.detectors.partwise_train_step import partwise_train_step


@MODEL_WRAPPERS.register_module()
class PartwiseDistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's distributed wrapper for modules that train in parts.

    MMEngine's own wrapper trains them too, with one backward pass for all
    parts, which needs more memory.

    Args:
        module (nn.Module): Module to wrap.
        **kwargs: Arguments of ``MMDistributedDataParallel``.
    """

    def train_step(
        self, data: dict[str, Any], optim_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Train one iteration, see :func:`partwise_train_step`."""
        if not hasattr(self.module, 'training_parts'):
            return super().train_step(data, optim_wrapper)
        return partwise_train_step(self, self.module, data, optim_wrapper)


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(PartwiseDistributedDataParallel):
    """MMEngine's distributed wrapper for modules on the CPU.

    Synchronised batch normalisation becomes the ordinary one in each process,
    since PyTorch's needs a GPU. Parameters and keys stay the same.

    Args:
        module (nn.Module): Module to wrap.
        device_ids (None): Accepted and ignored, since MMEngine passes it and
            CPU modules take no device ids.
        **kwargs: Arguments of ``MMDistributedDataParallel``.
    """

    def __init__(
        self, module: nn.Module, device_ids: None = None, **kwargs
    ) -> None:
        super().__init__(module=revert_sync_batchnorm(module), **kwargs)


def setup_distributed(cfg: Config) -> None:
    """Choose the distributed wrapper of a runner, over gloo without a GPU.

    The function does nothing without a launcher. Where there is no GPU,
    MMEngine's start-up would select a CUDA device, so the process group is
    created here.

    Args:
        cfg (Config): Runner config, changed in place. On a machine with GPUs
            its own ``model_wrapper_cfg`` stays.
    """
    if cfg.get('launcher', 'none') == 'none':
        return
    gpu = torch.cuda.is_available()
    if gpu and cfg.get('model_wrapper_cfg') is not None:
        return
    if not gpu and not dist.is_initialized():
        dist.init_process_group('gloo')
    prefix = 'Partwise' if gpu else 'CPU'
    cfg.model_wrapper_cfg = dict(
        type=f'{prefix}DistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
