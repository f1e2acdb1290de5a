# SPDX-License-Identifier: Apache-2.0
"""Two processes that train or evaluate together, without a GPU."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist
from mmengine.registry import init_default_scope


def run_ranks(function: Callable[..., None], *args) -> None:
    """Call ``function(rank, *args)`` in two processes of one gloo group.

    MMDet is imported once, by the server that both are forked from.
    """
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    torch.multiprocessing.set_forkserver_preload(['s4m.models'])
    torch.multiprocessing.start_processes(
        _enter, (port, function, args), nprocs=2, start_method='forkserver'
    )


def _enter(rank: int, port: int, function: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    init_default_scope('mmdet')
    dist.init_process_group(
        'gloo',
        init_method=f'tcp://127.0.0.1:{port}',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    function(rank, *args)
