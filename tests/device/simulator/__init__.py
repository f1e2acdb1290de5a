# SPDX-License-Identifier: Apache-2.0
"""A CUDA device that is not there.

Runs a PyTorch program on a machine without a GPU as if its tensors were on
``cuda:0``, and tells what a GPU would have had to say about it:

* a ``DeviceMismatch`` where CUDA would refuse to mix host and device tensors,
  or has no kernel (integer matrix products, bilinear uint8, bf16 in mmcv ...);
* every place where the host waits for the device (``Simulator.syncs``);
* how many operators are launched, phase by phase (``Simulator.launches``);
* how many bytes of device memory are alive, and their peak, phase by phase
  (``Simulator.peaks``).

A :class:`DeviceTensor` claims ``device='cuda:0'`` to Python and to C++ alike
(dispatch keys, autocast, the autograd engine's device threads, ``numpy()``),
holds a CPU tensor, and computes there. Nothing is measured in seconds.

**Import this package before torch.** A shared library of ten lines, made with
``g++`` on the first import, tells libtorch that there are devices; no CUDA
call is ever made. It wants a CUDA build of PyTorch, with or without a driver,
and must not be imported where there is a real device, which it would hide.

Usage::

    from device.simulator import Simulator   # before torch
    import torch
    with Simulator() as sim:
        model = torch.nn.Linear(8, 4).to('cuda')
        with sim.phase('forward'):
            loss = model(torch.rand(2, 8, device='cuda')).sum()
        with sim.phase('backward'):
            loss.backward()
        float(loss)                          # one synchronisation
    print(sim.report())

It knows one device in one process, and does not know: workspaces of kernels,
the CUDA context, the allocator's fragmentation, streams, NCCL,
``torch.compile``, what ``torch.use_deterministic_algorithms`` refuses, the
random numbers of a GPU (it has a generator of its own, of the host's kind),
and half precision inside of operators that have no such kernel on the host,
which compute in fp32 and round their result.
"""

from . import shim  # noqa: F401 - it must be loaded before torch
from .installation import prepare
from .phases import Phases
from .recorder import Simulator
from .state import DeviceMismatch
from .tensors import DeviceTensor

prepare()

__all__ = ['DeviceMismatch', 'DeviceTensor', 'Phases', 'Simulator']
