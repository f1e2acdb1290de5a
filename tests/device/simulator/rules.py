# SPDX-License-Identifier: Apache-2.0
"""What CUDA refuses, and where the host waits for it."""

from __future__ import annotations

import contextlib

import torch

from . import state
from .state import demand, refuse
from .tensors import DeviceTensor, aten

# CPU tensors of any size may meet device tensors here.
_COPIES = {aten.copy_, aten._to_copy, aten.set_, aten.is_same_size}
INDEXING = {
    aten.index,
    aten.index_put,
    aten.index_put_,
    aten._index_put_impl_,
    aten._unsafe_index,
    aten._unsafe_index_put,
}
# Not tagged as pointwise, but a CPU scalar (0-dim tensor) is welcome.
_TAKES_SCALAR = {
    aten.fill_,
    aten.fill,
    aten.masked_fill,
    aten.masked_fill_,
    aten.where,
    aten.lerp,
    aten.lerp_,
    aten.clamp,
    aten.clamp_,
}
# The host waits for their result.
_SYNCS = {
    aten._local_scalar_dense: 'item',
    aten.nonzero: 'nonzero',
    aten.argwhere: 'nonzero',
    aten.masked_select: 'masked_select',
    aten._unique2: 'unique',
    aten._unique: 'unique',
    aten.unique_dim: 'unique',
    aten.unique_consecutive: 'unique',
    aten.unique_dim_consecutive: 'unique',
    aten.bincount: 'bincount',
    aten.multinomial: 'multinomial',
    aten.equal: 'equal',
    aten.linalg_inv_ex: 'linalg',
    aten._linalg_eigh: 'linalg',
}
for _name in ('nms', 'deform_conv2d'):
    with contextlib.suppress(AttributeError, RuntimeError):
        _SYNCS[getattr(torch.ops.torchvision, _name)] = _name
# No integer kernel on CUDA.
_MATMULS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.mv, aten.dot}
# Floating point only on CUDA.
_FLOAT_ONLY = {
    aten.upsample_bilinear2d,
    aten.upsample_bicubic2d,
    aten._upsample_bilinear2d_aa,
    aten._upsample_bicubic2d_aa,
    aten.avg_pool2d,
    aten._adaptive_avg_pool2d,
    aten.grid_sampler_2d,
}
# Made by CUDA on the device; no launch.
_FREE = {
    aten.empty,
    aten.empty_like,
    aten.empty_strided,
    aten.new_empty,
    aten.new_empty_strided,
    aten._local_scalar_dense,
    aten.lift_fresh,
    aten.detach,
    aten.alias,
    aten._reshape_alias,
    aten.set_,
    aten.resize_,
    aten.is_same_size,
}
NEW = {aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty}
_info: dict = {}


class _OpInfo:
    """What the schema says of an operator."""

    __slots__ = (
        'free',
        'inplace',
        'inplace_view',
        'pointwise',
        'random',
        'view',
    )

    def __init__(self, func) -> None:
        returns, arguments = func._schema.returns, func._schema.arguments
        aliases = [r.alias_info for r in returns]
        self.view = any(a is not None and not a.is_write for a in aliases)
        first = arguments[0].alias_info if arguments else None
        self.inplace = first is not None and first.is_write
        self.inplace_view = torch.Tag.inplace_view in func.tags
        self.random = torch.Tag.nondeterministic_seeded in func.tags
        self.free = self.view or func._overloadpacket in _FREE
        self.pointwise = (
            torch.Tag.pointwise in func.tags
            or '_foreach_' in func.name()
            or func._overloadpacket in _TAKES_SCALAR
        )


def info_of(func) -> _OpInfo:
    info = _info.get(func)
    if info is None:
        info = _info[func] = _OpInfo(func)
    return info


def check(func, args, flat, on_device, on_host) -> None:
    """Raise where CUDA would; something is on the device."""
    packet, info = func._overloadpacket, info_of(func)
    dtype = on_device[0].dtype if on_device else None
    if packet in _MATMULS and dtype is not None:
        if not dtype.is_floating_point and not dtype.is_complex:
            refuse(f'{func} is not implemented for {dtype} on CUDA')
    if packet in _FLOAT_ONLY and dtype is not None:
        if not dtype.is_floating_point:
            refuse(f'{func} is not implemented for {dtype} on CUDA')
    for value in flat:
        if isinstance(value, torch.Generator) and value.device.type == 'cpu':
            refuse(f"{func}: Expected a 'cuda' device type for generator")
    if not on_device or not on_host or packet in _COPIES:
        return
    if packet in INDEXING:
        target, indices = args[0], [i for i in args[1] if i is not None]
        if not isinstance(target, DeviceTensor):
            foreign = [i for i in indices if isinstance(i, DeviceTensor)]
            demand(not foreign, func, 'device index into a host tensor')
            demand(
                not isinstance(
                    args[2] if len(args) > 2 else None, DeviceTensor
                ),
                func,
                'device values into a host tensor',
            )
        elif len(args) > 2 and not isinstance(args[2], DeviceTensor):
            demand(
                args[2].dim() == 0, func, 'host values into a device tensor'
            )
        return
    for value in on_host:
        scalar = value.dim() == 0 and info.pointwise
        demand(scalar, func, f'host tensor of shape {tuple(value.shape)}')
    if info.inplace and isinstance(args[0], torch.Tensor):
        result_on_host = not isinstance(args[0], DeviceTensor)
        fill = packet in (aten.fill_,)
        demand(not result_on_host or fill, func, 'the result is on the host')


def is_mask(index) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def note_syncs(func, args, kwargs, on_device) -> None:
    """Write down where the host waits."""
    packet = func._overloadpacket
    kind = _SYNCS.get(packet)
    if kind is not None and on_device:
        # CUDA's bincount looks at the least and the largest value.
        times = {'bincount': 2, 'multinomial': 2}.get(kind, 1)
        state.active.record(kind, func, times=times)
    elif packet is aten._to_copy:
        source, to = args[0], kwargs.get('device')
        if to is None:
            return
        _note_copy(
            func,
            isinstance(source, DeviceTensor),
            torch.device(to).type == 'cuda',
            kwargs.get('non_blocking', False),
            source,
        )
    elif packet is aten.copy_:
        blocking = args[2] if len(args) > 2 else kwargs.get('non_blocking')
        _note_copy(
            func,
            isinstance(args[1], DeviceTensor),
            isinstance(args[0], DeviceTensor),
            blocking or False,
            args[1],
        )
    elif packet in INDEXING and isinstance(args[0], DeviceTensor):
        indices = [i for i in args[1] if i is not None]
        for index in indices:
            if not isinstance(index, DeviceTensor):
                state.active.record('host index', func)
        masks = [i for i in indices if is_mask(i)]
        # One mask and a host scalar: masked_fill_, which does not wait.
        fill = (
            packet not in (aten.index, aten._unsafe_index)
            and len(indices) == len(masks) == 1
            and not isinstance(args[2], DeviceTensor)
            and args[2].numel() == 1
        )
        if masks and not fill:
            state.active.record('mask index', func, times=len(masks))
    elif packet is aten.repeat_interleave and on_device:
        if kwargs.get('output_size') is None:
            state.active.record('repeat_interleave', func)


def _note_copy(func, from_device, to_device, non_blocking, source) -> None:
    if from_device == to_device:
        return
    kind = 'device to host' if from_device else 'host to device'
    if non_blocking:
        kind += ' (non_blocking)'
    state.active.record(
        kind, func, size=source.numel() * source.element_size()
    )
