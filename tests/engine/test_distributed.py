# SPDX-License-Identifier: Apache-2.0
"""The wrapper for a machine without a GPU."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from s4m.engine import CPUDistributedDataParallel
from torch import nn


@pytest.fixture
def process_group(tmp_path):
    dist.init_process_group(
        'gloo', f'file://{tmp_path}/store', rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


def test_sync_batchnorm__is_reverted(process_group):
    """PyTorch's stops a training without a GPU with a ValueError."""
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.SyncBatchNorm(3))
    with pytest.raises(ValueError, match='SyncBatchNorm expected'):
        net(torch.rand(2, 1, 4, 4))
    keys = list(net.state_dict())
    weight = net[1].weight
    wrapped = CPUDistributedDataParallel(net)
    assert list(wrapped.module.state_dict()) == keys
    assert wrapped.module[1].weight is weight
    wrapped.module(torch.rand(2, 1, 4, 4)).sum().backward()
    assert weight.grad is not None
