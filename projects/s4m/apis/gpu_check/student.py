# SPDX-License-Identifier: Apache-2.0
"""S4M's student at the published size: time and memory in each mode."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from .batches import make_batch
from .environment import matmul_tflops
from .measuring import is_real, measure_step
from .networks import (
    TrainingStep,
    build,
    checkpointing,
    num_classes,
    read_config,
)
from .released import as_released
from .report import Report

#: Labelled and unlabelled images of a step, the most valuable first.
COUNTS = ((4, 4), (2, 2))
#: Seconds of the part after which no further mode begins.
SECONDS = 110.0
_COMPILED = 'bf16, compiled'


def make_step(device: torch.device, nano: bool) -> TrainingStep:
    """Build S4M's student of Cityscapes, or of Shapes in nano."""
    cfg = read_config('s4m_shapes_5p' if nano else 's4m_cityscapes_10p', nano)
    return TrainingStep(cfg, build(cfg, device), device, 5 if nano else 20)


def set_batch(step: TrainingStep, counts: tuple[int, int], nano: bool) -> None:
    """Give a step the batch of the published size."""
    step.batch = make_batch(
        'SemiInstanceSegmentor',
        counts,
        (64, 128) if nano else (512, 1024),
        num_classes(step.cfg),
        5 if nano else 20,
    )


@contextlib.contextmanager
def sam_in(step: TrainingStep, dtype: str) -> Iterator[None]:
    """Run SAM 2 in another precision."""
    segmenter = step.model.refiner.segmenter
    before, segmenter.dtype = segmenter.dtype, dtype
    try:
        yield
    finally:
        segmenter.dtype = before


@contextlib.contextmanager
def compiled(step: TrainingStep) -> Iterator[None]:
    """Compile SAM 2's image encoder and the backbones."""
    sam = step.model.refiner.segmenter.model
    owners: list[tuple[Any, str]] = [(sam, 'forward_image')]
    for network in (step.model.student, step.model.teacher):
        owners.append((network.backbone, 'forward'))
    for owner, name in owners:
        compiled_call = torch.compile(getattr(owner, name), dynamic=False)
        object.__setattr__(owner, name, compiled_call)
    try:
        yield
    finally:
        for owner, name in owners:
            vars(owner).pop(name)


def _context(step: TrainingStep, mode: str) -> AbstractContextManager:
    if mode.startswith('as released'):
        return as_released(step)
    if mode == 'bf16, SAM fp32':
        return sam_in(step, 'float32')
    if mode == 'bf16, checkpointed backbones':
        return checkpointing(step.network)
    if mode == _COMPILED:
        return compiled(step)
    return nullcontext()


#: Name and precision of the modes, in their order.
MODES = (
    ('bf16', 'bf16'),
    ('as released, fp16', 'fp16'),
    ('bf16, SAM fp32', 'bf16'),
    ('fp32 with TF32', 'off'),
    ('as released, fp32', 'off'),
    ('bf16, checkpointed backbones', 'bf16'),
)


def run(device: torch.device, nano: bool, report: Report) -> None:
    """Measure all modes at 4 + 4 and 2 + 2 images."""
    began = time.perf_counter()
    step = make_step(device, nano)
    ceiling = None
    if is_real(device):
        ceiling = matmul_tflops(device, torch.bfloat16)
    report.add(
        'set-up',
        build_s=time.perf_counter() - began,
        bf16_ceiling_tflops=ceiling,
    )
    counted: dict[tuple[int, int], float | None] = {}
    times: dict[tuple, float] = {}
    sizes = COUNTS[-1:] if nano else COUNTS
    modes = MODES[:2] if nano else MODES
    plan = [(counts, mode) for counts in sizes for mode in modes]
    plan.append((COUNTS[0], (_COMPILED, 'bf16')))
    for counts, (mode, precision) in plan:
        left = SECONDS - (time.perf_counter() - began)
        if left < 6 or (mode == _COMPILED and (left < 25 or nano)):
            report.add('left out', images=counts, mode=mode, seconds_left=left)
            continue
        try:
            set_batch(step, counts, nano)
            if counts not in counted:
                step.use('bf16')
                counted[counts] = _tflop(step, report)
            with _context(step, mode):
                step.use(precision)
                if mode.startswith('as released'):
                    # No TF32 in matrix products, PyTorch's default.
                    torch.backends.cuda.matmul.allow_tf32 = False
                row = _measure(step, mode, nano, left)
            times[counts, mode] = row['ms']
            tflop = counted[counts]
            if tflop is not None:
                row['tflop'] = tflop
                row['tflop_s'] = tflop / row['ms'] * 1000
            if ceiling and tflop is not None:
                row['share_of_bf16'] = row['tflop_s'] / ceiling
            phases = row.pop('phases')
            report.add('modes', images=counts, mode=mode, **row)
            report.add('phases in ms', images=counts, mode=mode, **phases)
            _add_ratios(times, counts, mode, report)
        except Exception:
            report.error(f'{counts} {mode}', traceback.format_exc())
            if device.type == 'cuda':
                torch.cuda.empty_cache()


def _add_ratios(
    times: dict[tuple, float],
    counts: tuple[int, int],
    mode: str,
    report: Report,
) -> None:
    """Compare a new mode with the others of the same batch."""
    for (images, other), ms in times.items():
        released = other.startswith('as released')
        if images == counts and released != mode.startswith('as released'):
            slow, fast = (other, mode) if released else (mode, other)
            ratio = ms / times[counts, mode]
            report.add(
                'ratios',
                images=counts,
                of=slow,
                to=fast,
                ratio=ratio if released else 1 / ratio,
            )


def _measure(
    step: TrainingStep, mode: str, nano: bool, left: float
) -> dict[str, Any]:
    few = nano or mode.startswith('as released')
    row, phases = measure_step(
        step,
        step.phases,
        warmup=0 if nano else (1 if few else 2),
        rounds=1 if nano else (3 if few else 5),
        phase_rounds=1 if few else 2,
        seconds=min(25.0, left),
    )
    row['images_s'] = 1000 * step.images / row['ms']
    return row | step.values() | dict(phases=phases)


def _tflop(step: TrainingStep, report: Report) -> float | None:
    """Count the operations of a step, in 1e12; a product counts as two.

    mmcv's operators are not counted.
    """
    from torch.utils.flop_counter import FlopCounterMode

    if step.device.type == 'cuda' and not is_real(step.device):
        return None  # a simulated device has a mode of its own
    try:
        counter = FlopCounterMode(display=False)
        with counter:
            step()
        return counter.get_total_flops() / 1e12
    except Exception:
        report.error('counting FLOPs', traceback.format_exc())
        return None
