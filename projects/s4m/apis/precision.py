# SPDX-License-Identifier: Apache-2.0
"""The precision in which a model is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config

from s4m.utils.mixed_precision import computes_in_bf16

#: Values of ``--amp``.
PRECISIONS = ('bf16', 'fp16', 'off')
#: Values of ``optim_wrapper`` that are the precision.
PRECISION_KEYS = tuple(
    f'optim_wrapper.{key}'
    for key in ('type', 'dtype', 'loss_scale', 'loss_scale.enabled')
)

_MIXED = dict(
    # bf16 has the exponent range of fp32, so gradients need no scaling; with a
    # scale of 1 the host would still wait for a check of all gradients.
    bf16=dict(
        type='AmpOptimWrapper',
        dtype='bfloat16',
        loss_scale=dict(enabled=False),
    ),
    fp16=dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic'),
)


def has_bf16() -> bool:
    """Check whether the GPU computes in bf16, which it does since Ampere."""
    return torch.cuda.is_available() and computes_in_bf16(torch.device('cuda'))


def default_precision() -> str:
    """Return the precision that this machine trains in unless told.

    Returns:
        str: ``bf16`` on a GPU that computes in it, ``fp16`` on another GPU,
        and ``off``, which is fp32, on a CPU.
    """
    if not torch.cuda.is_available():
        return 'off'
    return 'bf16' if has_bf16() else 'fp16'


def precision_of(optim_wrapper: Mapping[str, Any]) -> str:
    """Return the precision of an ``optim_wrapper``.

    Example:
        >>> precision_of(dict(type='AmpOptimWrapper', dtype='float16'))
        'fp16'
        >>> precision_of({})
        'off'
    """
    if optim_wrapper.get('type') != 'AmpOptimWrapper':
        return 'off'
    # MMEngine's default is autocast's, fp16.
    return 'bf16' if optim_wrapper.get('dtype') == 'bfloat16' else 'fp16'


def set_precision(cfg: Config, amp: str | None = None) -> None:
    """Set the precision of a config.

    ``cfg.default_precision`` then says whether the machine chose it: a work
    directory does not belong to another config because another machine would
    choose another precision.

    Args:
        cfg (Config): Config, changed in place.
        amp (str, optional): ``bf16``, ``fp16`` or ``off``, which is fp32.
            Defaults to None: what the config itself sets, otherwise
            :func:`default_precision`.

    Raises:
        ValueError: if ``amp`` is another word, or the machine lacks it.
    """
    if amp is not None and amp not in PRECISIONS:
        raise ValueError(f'amp must be one of {PRECISIONS}, got {amp!r}')
    if amp in _MIXED and not torch.cuda.is_available():
        raise ValueError(
            f'--amp {amp} needs a GPU; without --amp a CPU trains in fp32'
        )
    if amp == 'bf16' and not has_bf16():
        raise ValueError(
            f'--amp bf16: {torch.cuda.get_device_name()} has no bf16. Use '
            '--amp fp16, its default.'
        )
    wrapper = cfg.get('optim_wrapper')
    if wrapper is None:  # a config that does not train
        return
    known = wrapper.get('type', 'OptimWrapper') in (
        'OptimWrapper',
        'AmpOptimWrapper',
    )
    # A config that a former run wrote has that machine's choice.
    chosen = cfg.pop('default_precision', False)
    if amp is None and (not known or (_is_mixed(wrapper) and not chosen)):
        return
    if amp is None:
        amp = default_precision()
        cfg.default_precision = True
    if amp in _MIXED:
        wrapper.update(_MIXED[amp])
    elif _is_mixed(wrapper):
        wrapper.type = 'OptimWrapper'
        for key in ('dtype', 'loss_scale'):
            wrapper.pop(key, None)


def _is_mixed(wrapper: Mapping[str, Any]) -> bool:
    return wrapper.get('type') == 'AmpOptimWrapper'


@contextmanager
def tf32_in_fp32(cfg: Config) -> Iterator[None]:
    """Use TF32 in matrix products while a GPU trains in fp32.

    PyTorch already uses TF32 in convolutions. A mixed precision keeps fp32 for
    what needs it, so products stay exact there.

    Args:
        cfg (Config): Config after :func:`set_precision`.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    if torch.cuda.is_available() and precision_of(cfg.optim_wrapper) == 'off':
        matmul.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32 = before


def describe_precision(cfg: Config) -> str:
    """Say in one line which precision a training has, and why.

    Args:
        cfg (Config): Config after :func:`set_precision`.

    Example:
        >>> describe_precision(Config(dict(optim_wrapper={})))
        'Precision: fp32, as the options or the config say.'
    """
    names = dict(
        bf16='bf16 (autocast)',
        fp16='fp16 (autocast) with a dynamic loss scale',
        off='fp32 with TF32' if torch.cuda.is_available() else 'fp32',
    )
    reason = 'as the options or the config say.'
    if cfg.get('default_precision'):
        reason = 'the default on a CPU.'
        if torch.cuda.is_available():
            name = torch.cuda.get_device_name()
            reason = f'the default on {name}; --amp chooses another.'
    return f'Precision: {names[precision_of(cfg.optim_wrapper)]}, {reason}'
