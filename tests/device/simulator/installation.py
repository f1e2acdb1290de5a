# SPDX-License-Identifier: Apache-2.0
"""Let Python and libtorch believe in one device, and forget it again."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch.utils._foreach_utils as foreach_utils
from torch.utils._pytree import tree_flatten, tree_unflatten

from . import state
from .mmcv_ops import mmcv_patches
from .random_numbers import get_rng_state, manual_seed, set_rng_state
from .tensors import DeviceTensor, attention, plain

_MISSING = object()


def prepare() -> None:
    """Do once what cannot be undone and disturbs nobody.

    The autograd engine starts its threads, one a device, in the first backward
    pass of a process, so it is told of the devices before.
    """
    torch._C._ensureCUDADeviceGuardSet()  # guards that do nothing
    # Optimisers take their fused path, as for CUDA tensors.
    optimizer = importlib.import_module('torch.optim.optimizer')
    for module in (foreach_utils, optimizer):
        if DeviceTensor not in module._foreach_supported_types:
            module._foreach_supported_types.append(DeviceTensor)
    # Scripted functions go on meaning the built-in one.
    torch.jit._builtins._register_builtin(_make_tensor, 'aten::tensor')
    manual_seed(0)


_tensor, _load = torch.tensor, torch.load
_attend = torch.nn.functional.scaled_dot_product_attention


def _fused_attention(query, *args, **kwargs):
    """Attend where ``__torch_function__`` is off, as in a backward pass."""
    on_device = isinstance(query, DeviceTensor)
    return (attention if on_device else _attend)(query, *args, **kwargs)


def _make_tensor(data, **kwargs):
    lists = isinstance(data, list | tuple)
    return _tensor(plain(data) if lists else data, **kwargs)


def _load_to_device(f, map_location=None, *args, **kwargs):
    if map_location is None or not str(map_location).startswith('cuda'):
        return _load(f, map_location, *args, **kwargs)
    values, spec = tree_flatten(_load(f, 'cpu', *args, **kwargs))
    values = [
        DeviceTensor(v) if isinstance(v, torch.Tensor) else v for v in values
    ]
    return tree_unflatten(values, spec)


def _cuda_patches(capability: tuple[int, int]) -> dict[str, Any]:
    properties = SimpleNamespace(
        name='Simulated GPU',
        major=capability[0],
        minor=capability[1],
        total_memory=24 * 2**30,
        multi_processor_count=82,
        warp_size=32,
    )

    def nothing(*args, **kwargs) -> None:
        return None

    return dict(
        is_available=lambda: True,
        device_count=lambda: 1,
        current_device=lambda: 0,
        is_initialized=lambda: True,
        is_current_stream_capturing=lambda: False,
        is_bf16_supported=lambda including_emulation=True: (
            including_emulation or capability >= (8, 0)
        ),
        get_device_name=lambda device=None: properties.name,
        get_device_properties=lambda device=None: properties,
        get_device_capability=lambda device=None: capability,
        get_rng_state=get_rng_state,
        set_rng_state=set_rng_state,
        manual_seed=manual_seed,
        manual_seed_all=manual_seed,
        max_memory_allocated=lambda device=None: (
            max(state.active.peaks.values()) if state.active else 0
        ),
        memory_allocated=lambda device=None: (
            state.active.live if state.active else 0
        ),
        _initialized=True,
        _exchange_device=lambda device: 0,
        _maybe_exchange_device=lambda device: 0,
        _lazy_init=lambda *args, **kwargs: None,
        # Each its own: dynamo wants them unique.
        set_device=lambda *args, **kwargs: None,
        synchronize=lambda *args, **kwargs: None,
        empty_cache=lambda *args, **kwargs: None,
        reset_peak_memory_stats=lambda *args, **kwargs: None,
    )


def _patches(capability: tuple[int, int]) -> Iterator[tuple[Any, str, Any]]:
    """Yield owner, name and value of everything that is replaced."""
    for name, value in _cuda_patches(capability).items():
        yield torch.cuda, name, value
    yield torch, 'tensor', _make_tensor
    yield torch, 'load', _load_to_device
    functional = torch.nn.functional
    yield functional, 'scaled_dot_product_attention', _fused_attention
    # Both ask the driver.
    yield torch.__config__, 'show', lambda: 'simulated'
    yield torch._C, '_show_config', lambda: 'simulated'
    # Pinned memory is memory; the loader's thread would ask the driver.
    yield torch.Tensor, 'pin_memory', lambda self, device=None: self
    # MMEngine asks once, when it is imported.
    device = importlib.import_module('mmengine.device.utils')
    yield device, 'DEVICE', 'cuda'
    yield from mmcv_patches()


@contextlib.contextmanager
def installed(shim, capability: tuple[int, int]) -> Iterator[None]:
    """Have a device while the block runs.

    Args:
        shim (ctypes.CDLL): Library of ``load_shim``.
        capability (tuple[int, int]): Compute capability of the device, which
            has bf16 from (8, 0) on.
    """
    before = []
    for owner, name, value in _patches(capability):
        before.append((owner, name, vars(owner).get(name, _MISSING)))
        setattr(owner, name, value)
    shim.simulate_devices(8)  # as many as the guards say
    cudnn = torch._C._get_cudnn_enabled()
    # Convolutions and norms by their plain names.
    torch._C._set_cudnn_enabled(False)
    future = torch.__future__
    overwrite = future.get_overwrite_module_params_on_conversion()
    # `module.to('cuda')` makes new parameters instead of refilling old ones.
    future.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        future.set_overwrite_module_params_on_conversion(overwrite)
        torch._C._set_cudnn_enabled(cudnn)
        shim.simulate_devices(0)
        for owner, name, value in reversed(before):
            if value is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
