# SPDX-License-Identifier: Apache-2.0
"""Distributed training on a machine without a GPU."""

from __future__ import annotations

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS
from torch import nn


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
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


def setup_cpu_distributed(cfg: Config) -> None:
    """Let MMEngine's runner train over gloo where there is no GPU.

    The function does nothing on a machine with GPUs or without a launcher.
    MMEngine's start-up would select a CUDA device, so the process group is
    created here.

    Args:
        cfg (Config): Runner config, changed in place.
    """
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    if not dist.is_initialized():
        dist.init_process_group('gloo')
    cfg.model_wrapper_cfg = dict(
        type='CPUDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
