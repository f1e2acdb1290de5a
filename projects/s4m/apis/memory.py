# SPDX-License-Identifier: Apache-2.0
"""Estimated memory of a training on a GPU, and advice to take less of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from .precision import has_bf16, precision_of

_GIB = 2**30


@dataclass(frozen=True)
class _Fit:
    """Peak memory of a kind of training, in GiB.

    ``fixed + per_mpx * m`` for m times 2**20 pixels in all images of an
    iteration. Trust it between ``low`` and ``high`` only.
    """

    fixed: float
    per_mpx: float
    low: float
    high: float


# Fitted to the peaks of the simulated device in docs/results/gpu.md, and 0.5
# GiB for what it does not know; seven peaks of an H200 lay 0.2 below to 0.8
# above the simulated ones. S4M's student in bf16 was simulated at 2 and 4, and
# its line gives 8.9 GiB at 6, where 8.3 + 0.5 were simulated. The other lines
# go through one peak; their fixed part is 16 bytes for each parameter that
# trains, 4 for each of the teacher, 2 (in fp32: 4) for each of SAM 2, and 0.9
# GiB.
_FITS = {
    ('s4m', 'r50', 'bf16'): _Fit(2.2, 1.12, 1, 9),
    ('s4m', 'r50', 'off'): _Fit(2.2, 2.07, 1, 9),
    ('s4m', 'r50', 'off, SAM fp32'): _Fit(2.6, 2.07, 1, 9),
    ('s4m_teacher', 'r50', 'bf16'): _Fit(2.0, 2.59, 0.5, 3),
    ('guided_distillation', 'r50', 'bf16'): _Fit(1.7, 1.11, 2, 6),
    ('guided_distillation', 'r50', 'off'): _Fit(1.7, 2.11, 2, 6),
    ('guided_distillation', 'dinov2_l', 'bf16'): _Fit(7.0, 3.40, 2, 6),
    ('sskd_distill', 'dinov2_s', 'bf16'): _Fit(1.6, 3.65, 0.5, 1.5),
}
_BACKBONES = {
    ('ResNet', 50): 'r50',
    ('ViTFeaturePyramid', 'vit_large_patch14_dinov2'): 'dinov2_l',
    ('ViTFeaturePyramid', 'vit_small_patch14_dinov2'): 'dinov2_s',
}
#: Method by the types of model and detector, and whether there is a SAM 2-L.
_METHODS = {
    ('SemiInstanceSegmentor', 'Mask2Former', True): 's4m',
    ('SemiInstanceSegmentor', 'Mask2Former', False): 'guided_distillation',
    ('DistillMask2Former', 'DistillMask2Former', True): 's4m_teacher',
    (
        'ContrastiveMask2Former',
        'ContrastiveMask2Former',
        False,
    ): 'sskd_distill',
}


class OutOfMemory(torch.cuda.OutOfMemoryError):
    """A training needs more memory than the GPU has; says what to lower."""


def estimate_gib(cfg: Config) -> float | None:
    """Estimate the peak of a training's tensors on one GPU.

    Args:
        cfg (Config): Config after :func:`s4m.apis.precision.set_precision`.

    Returns:
        float: GiB, or None where no training of this kind, precision or size
        was measured.
    """
    crop = _crop_size(cfg)
    fit = _FITS.get(_kind(cfg) or ('', '', ''))
    if fit is None or crop is None:
        return None
    sampler = cfg.train_dataloader.get('sampler', {})
    images = cfg.train_dataloader.batch_size
    if 'num_labeled' in sampler:
        # Both kinds are backpropagated one after the other.
        images = 2 * max(sampler.num_labeled, sampler.num_unlabeled)
    mpx = images * crop[0] * crop[1] / 2**20
    if not fit.low <= mpx <= fit.high:
        return None
    return fit.fixed + fit.per_mpx * mpx


def _kind(cfg: Config) -> tuple[str, str, str] | None:
    """Return method, backbone and precision, or None if it is another."""
    model = cfg.model
    detector = _detector(cfg)[0]
    backbone = detector.get('backbone', {})
    head = detector.get('panoptic_head', {})
    size = backbone.get('depth', backbone.get('arch'))
    name = _BACKBONES.get((backbone.get('type'), size))
    if (
        name is None
        or backbone.get('with_cp')
        or backbone.get('frozen')
        or head.get('pixel_decoder', {}).get('with_cp')
        or head.get('type') != 'DistillMask2FormerHead'
        or head.get('num_queries') != 100
    ):
        return None
    segmenter = _find(model, 'SAM2Segmenter', 'model')
    large = segmenter is not None and 'hiera_large' in segmenter[1].config
    method = _METHODS.get((model.type, detector.type, large))
    if method is None or (segmenter is not None and not large):
        return None
    precision = precision_of(cfg.optim_wrapper)
    if segmenter is not None and precision == 'off':
        dtype = segmenter[1].get('dtype')
        if dtype == 'float32' or (dtype is None and not has_bf16()):
            precision = 'off, SAM fp32'
    return method, name, precision


def _detector(cfg: Config) -> tuple[Any, str]:
    """Return the detector's config and its key."""
    if 'detector' in cfg.model:
        return cfg.model.detector, 'model.detector'
    return cfg.model, 'model'


def _find(node: Any, name: str, key: str) -> tuple[str, Any] | None:
    """Find the first part with a ``type``, and its dotted key."""
    if isinstance(node, Mapping):
        if node.get('type') == name:
            return key, node
        for child, value in node.items():
            found = _find(value, name, f'{key}.{child}')
            if found is not None:
                return found
    return None


def _crop_size(cfg: Config) -> tuple[int, int] | None:
    """Return (H, W) of the crops, if all pipelines have the same."""
    found = set(_crops(cfg.train_dataloader.dataset))
    return found.pop()[::-1] if len(found) == 1 else None


def _crops(node: Any) -> Iterator[tuple[int, int]]:
    """Yield the (width, height) of each crop of our transform."""
    if isinstance(node, Mapping):
        if node.get('resize_type') == 'ResizeCrop' and 'crop_size' in node:
            yield tuple(node['crop_size'])
        for value in node.values():
            yield from _crops(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _crops(value)


# ------------------------------------------------------------------- advice
def advice(cfg: Config) -> str:
    """Say what lowers the memory of a training, the cheapest first.

    Args:
        cfg (Config): Config after :func:`s4m.apis.precision.set_precision`.

    Returns:
        str: Options of the command line, without those that do not apply.
    """
    steps = [
        step
        for step in (
            _fewer_images(cfg),
            _lower_precision(cfg),
            _checkpointing(cfg),
            *_smaller_segmenter(cfg),
        )
        if step
    ]
    return '; '.join(f'({i}) {step}' for i, step in enumerate(steps, 1))


def _fewer_images(cfg: Config) -> str | None:
    loader = cfg.train_dataloader
    keys = {'train_dataloader.batch_size': loader.batch_size}
    for name in ('num_labeled', 'num_unlabeled'):
        if name in loader.get('sampler', {}):
            keys[f'train_dataloader.sampler.{name}'] = loader.sampler[name]
    factor = next(
        (
            f
            for f in range(2, loader.batch_size + 1)
            if not any(value % f for value in keys.values())
        ),
        None,
    )
    if factor is None:
        return None
    counts = cfg.optim_wrapper.get('accumulative_counts', 1) * factor
    options = ' '.join(f'{k}={v // factor}' for k, v in keys.items())
    return (
        f'{options} optim_wrapper.accumulative_counts={counts}, the same '
        f'total batch: then multiply iterations, schedule and burn-in by '
        f'{factor}'
    )


def _lower_precision(cfg: Config) -> str | None:
    if precision_of(cfg.optim_wrapper) != 'off':
        return None
    return '--amp bf16' if has_bf16() else '--amp fp16'


def _checkpointing(cfg: Config) -> str | None:
    if cfg.model.get('semi_train_cfg', {}).get('bn_stats') == 'labeled':
        return None
    detector, key = _detector(cfg)
    parts = {
        f'{key}.backbone': detector.get('backbone', {}),
        f'{key}.panoptic_head.pixel_decoder': detector.get(
            'panoptic_head', {}
        ).get('pixel_decoder', {}),
    }
    switches = []
    for name, part in parts.items():
        kind = MODELS.get(part.type) if 'type' in part else None
        if (
            kind is not None
            and 'with_cp' in inspect.signature(kind.__init__).parameters
            and not part.get('with_cp')
            and not part.get('frozen')
        ):
            switches.append(f'{name}.with_cp=True')
    return ' '.join(switches) + ', slower' if switches else None


def _smaller_segmenter(cfg: Config) -> Iterator[str]:
    found = _find(cfg.model, 'SAM2Segmenter', 'model')
    if found is None:
        return
    key, segmenter = found
    chunk = segmenter.get('chunk_size', 48)
    if chunk > 1:
        yield f'{key}.chunk_size={chunk // 2}'
    name, file = segmenter.config, segmenter.get('checkpoint')
    if 'large' in name:
        options = f'{key}.config={name.replace("large", "tiny")}'
        if isinstance(file, str) and 'large' in file:
            options += f' {key}.checkpoint={file.replace("large", "tiny")}'
        yield f'{options}, whose masks are worse'


def _sizes(cfg: Config) -> str:
    """Return images, crop and precision of an iteration of one GPU."""
    loader = cfg.train_dataloader
    sampler = loader.get('sampler', {})
    images = str(loader.batch_size)
    if 'num_labeled' in sampler:
        images = f'{sampler.num_labeled} + {sampler.num_unlabeled}'
    crop = _crop_size(cfg)
    size = f' of {crop[0]} x {crop[1]} pixels' if crop else ''
    precision = precision_of(cfg.optim_wrapper).replace('off', 'fp32')
    return f'{images} images{size} in {precision}'


def describe_memory(cfg: Config) -> str | None:
    """Say in one line what a training is estimated to take.

    Args:
        cfg (Config): Config after :func:`s4m.apis.precision.set_precision`.

    Returns:
        str: The line, or None without a GPU or an estimate.
    """
    gib = estimate_gib(cfg) if torch.cuda.is_available() else None
    if gib is None:
        return None
    return (
        f'Memory: an estimate of {gib:.1f} GiB for {_sizes(cfg)}, and about '
        f'a tenth for the cache; the GPU has {_total_gib():.1f} GiB. To take '
        f'less: {advice(cfg)}. See docs/benchmarks.md.'
    )


def _total_gib() -> float:
    device = torch.cuda.current_device()
    return torch.cuda.get_device_properties(device).total_memory / _GIB


@contextmanager
def memory_advice(cfg: Config) -> Iterator[None]:
    """End an out-of-memory error of a training with advice.

    Args:
        cfg (Config): Config of the training.

    Raises:
        OutOfMemory: with phase, sizes and :func:`advice` in one line.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        if isinstance(error, OutOfMemory):
            raise
        raise OutOfMemory(
            f'Out of GPU memory in {_phase(error)} with {_sizes(cfg)} on each '
            f'GPU. To take less, the cheapest first: {advice(cfg)}. See '
            'docs/benchmarks.md.'
        ) from error


def _phase(error: BaseException) -> str:
    """Name the phase of a step in which an error was raised."""
    modules, functions = [], []
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        modules.append(frame.f_globals.get('__name__', ''))
        functions.append(frame.f_code.co_name)
        trace = trace.tb_next

    def within(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in modules)

    if 'val_step' in functions:
        return 'validation'
    if within('s4m.models.promptable'):
        return 'SAM 2'
    if within('torch.optim'):
        return 'the optimizer step'
    if within('torch.autograd'):
        return 'the backward pass'
    if 'pseudo_label' in functions:
        return "the teacher's labelling"
    if 'loss_by_pseudo_instances' in functions:
        return 'the forward pass of the unlabelled images'
    return 'the forward pass'
