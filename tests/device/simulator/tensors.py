# SPDX-License-Identifier: Apache-2.0
"""Tensors that claim to be on a CUDA device."""

from __future__ import annotations

import torch

from . import state

aten = torch.ops.aten
CUDA = torch.device('cuda', 0)
CPU = torch.device('cpu')


class DeviceTensor(torch.Tensor):
    """Claims ``cuda:0``; ``host`` is the CPU tensor with its values."""

    host: torch.Tensor

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> DeviceTensor:
        """Wrap a CPU tensor, whose memory is now the device's."""
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=CUDA,
        )
        self.host = host.detach() if host.requires_grad else host
        if state.active is not None:
            state.active.track(host)
        return self

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Fused attention would ask CUDA which kernel to take."""
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            func = attention
        elif func is torch.Tensor.tolist:
            return args[0].cpu().tolist()
        elif func is torch.Tensor.__deepcopy__:
            # Of a view, PyTorch would copy the storage, which has no memory.
            tensor, memo = args
            if id(tensor) not in memo:
                copied = tensor.detach().clone()
                memo[id(tensor)] = copied.requires_grad_(tensor.requires_grad)
            return memo[id(tensor)]
        elif func is torch.Tensor.new_tensor:
            args = (args[0], plain(args[1]), *args[2:])
        elif func in (torch.Tensor.numpy, torch.Tensor.__array__):
            state.refuse(
                "numpy: can't convert cuda:0 device type tensor to numpy. Use "
                'Tensor.cpu() to copy the tensor to host memory first.'
            )
            return args[0].host.numpy()
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """For threads and calls outside of the mode."""
        from .execution import run

        return run(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents=None) -> str:
        return f'DeviceTensor({self.host})'

    def __reduce_ex__(self, protocol):
        return DeviceTensor, (self.host,)


def plain(data):
    """Device scalars inside of lists as numbers; each is waited for."""
    if isinstance(data, DeviceTensor) and data.dim() == 0:
        return data.item()
    if isinstance(data, list | tuple):
        return type(data)(plain(value) for value in data)
    return data


def attention(
    q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
    enable_gqa=False,
):  # fmt: skip
    """One launch that stores no matrix of weights, as on a GPU."""
    flash = aten._scaled_dot_product_flash_attention_for_cpu
    state.demand(
        len({t.device for t in (q, k, v)}) == 1
        and (attn_mask is None or attn_mask.device == q.device),
        flash.default,
        'attention on two devices',
    )
    batched = q.dim() == 4
    if not batched:  # (heads, length, channels)
        q, k, v = (t.unsqueeze(0) for t in (q, k, v))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        fill = torch.zeros_like(attn_mask, dtype=q.dtype)
        attn_mask = fill.masked_fill(~attn_mask, -torch.inf)
    if torch.is_autocast_enabled('cuda'):
        dtype = torch.get_autocast_dtype('cuda')
        q, k, v = (t.to(dtype) for t in (q, k, v))
        attn_mask = None if attn_mask is None else attn_mask.to(dtype)
    out = flash(
        q, k, v, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]  # fmt: skip
    return out if batched else out.squeeze(0)
