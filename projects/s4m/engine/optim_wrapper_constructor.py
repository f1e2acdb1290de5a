# SPDX-License-Identifier: Apache-2.0
"""Parameter groups of a semi-supervised detector."""

from __future__ import annotations

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SegmentorOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor with three corrections.

    * ``norm_decay_mult`` also holds for the norms of a module that
      ``custom_keys`` names; MMEngine forgets them there, so that a
      ``backbone`` entry decays the backbone's norms.
    * The teacher and frozen modules are passed over, not reported parameter
      by parameter.
    * Parameters with equal settings share a group, so that AdamW steps in a
      few fused kernels instead of one group a parameter. A parameter that two
      modules share is in one group only.
    """

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs
    ) -> None:
        """Add the groups of one module and its children."""
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


def _merge(params: list[dict], defaults: dict) -> list[dict]:
    """One group for each set of options, in order of appearance."""
    groups: dict[tuple, dict] = {}
    seen: set[int] = set()
    for group in params:
        # lr_mult and decay_mult have done their work in lr and weight_decay.
        options = {
            k: v
            for k, v in {**defaults, **group}.items()
            if v is not None and k not in ('params', 'lr_mult', 'decay_mult')
        }
        key = tuple(sorted(options.items()))
        merged = groups.setdefault(key, {'params': [], **options})
        # RTMDet's heads share convolutions: each trains once.
        new = [p for p in group['params'] if id(p) not in seen]
        seen.update(map(id, new))
        merged['params'] += new
    return [group for group in groups.values() if group['params']]
