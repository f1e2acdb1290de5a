# SPDX-License-Identifier: Apache-2.0
"""Parameter groups of a semi-supervised detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from s4m.utils.deferred_scalars import defer_scalars

_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SegmentorOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor with four corrections.

    * ``norm_decay_mult`` also applies to the norms of a module that
      ``custom_keys`` names. MMEngine skips them there, so a ``backbone``
      entry would decay the norms of the backbone.
    * The teacher and frozen modules are skipped as a whole and not logged
      parameter by parameter.
    * The norm of the gradients is fetched from the device when it is logged.
    * Parameters with equal settings share a group, so that AdamW steps in a
      few fused kernels. A parameter that two modules share is in one group
      only.

    Example:
        >>> import torch
        >>> constructor = SegmentorOptimWrapperConstructor(
        ...     dict(optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05)),
        ...     paramwise_cfg=dict(norm_decay_mult=0.0))
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        >>> groups = constructor(net).optimizer.param_groups
        >>> [(len(g['params']), g['weight_decay']) for g in groups]
        [(2, 0.05), (2, 0.0)]
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a model and its wrapper.

        Args:
            model (nn.Module): Model, or its distributed wrapper.

        Returns:
            OptimWrapper: Wrapper that logs the norm of the gradients.
        """
        wrapper = super().__call__(model)
        if wrapper.clip_grad_kwargs:
            wrapper.clip_func = _deferred(wrapper)
        wrapper.load_state_dict = _any_precision(wrapper)
        return wrapper

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs
    ) -> None:
        """Add the parameter groups of one module and its children.

        Args:
            params (list[dict]): Groups so far, changed in place.
            module (nn.Module): Module whose parameters are added.
            prefix (str): Name of the module in the model. Defaults to '',
                the model itself.
            **kwargs: Arguments of MMEngine's method.
        """
        frozen = not any(p.requires_grad for p in module.parameters())
        if prefix == 'teacher' or frozen:
            return
        start = len(params)
        super().add_params(params, module, prefix=prefix, **kwargs)
        decay = self.paramwise_cfg.get('norm_decay_mult')
        if isinstance(module, _NORMS) and decay is not None:
            for group in params[start:]:
                group['weight_decay'] = self.base_wd * decay
        if not prefix:
            defaults = {'lr': self.base_lr, 'weight_decay': self.base_wd}
            params[:] = _merge(params, defaults)


def _deferred(wrapper: OptimWrapper) -> Callable[..., None]:
    """Clip without a wait for the norm, which MMEngine logs each time."""
    clip, name = wrapper.clip_func, f'train/{wrapper.grad_name}'

    def clip_and_log(*args: Any, **kwargs: Any) -> None:
        norm = clip(*args, **kwargs)
        if norm is not None:
            defer_scalars(wrapper.message_hub, {name: norm})

    return clip_and_log


def _any_precision(wrapper: OptimWrapper) -> Callable[[dict], None]:
    """Load the state of a run in any precision.

    bf16 has no loss scale, which MMEngine would want to load in fp16.
    """
    load = wrapper.load_state_dict

    def load_state_dict(state: dict) -> None:
        if not state.get('loss_scaler'):
            state = {k: v for k, v in state.items() if k != 'loss_scaler'}
        load(state)

    return load_state_dict


def _merge(params: list[dict], defaults: dict) -> list[dict]:
    """Merge groups with equal options, in the order of appearance."""
    groups: dict[tuple, dict] = {}
    seen: set[int] = set()
    for group in params:
        # lr and weight_decay already include lr_mult and decay_mult.
        options = {
            k: v
            for k, v in {**defaults, **group}.items()
            if v is not None and k not in ('params', 'lr_mult', 'decay_mult')
        }
        key = tuple(sorted(options.items()))
        merged = groups.setdefault(key, {'params': [], **options})
        # RTMDet's heads share convolutions, which must be stepped once.
        new = [p for p in group['params'] if id(p) not in seen]
        seen.update(map(id, new))
        merged['params'] += new
    return [group for group in groups.values() if group['params']]
