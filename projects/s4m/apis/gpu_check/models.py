# SPDX-License-Identifier: Apache-2.0
"""Time and memory of other methods and networks at their published size."""

from __future__ import annotations

import gc
import time
import traceback
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config

from .batches import make_batch
from .measuring import measure_step, milliseconds, peak_gib, reset_peak
from .networks import TrainingStep, build, num_classes, read_config
from .report import Report

#: Seconds of the part after which no further row begins.
SECONDS = 105.0


@dataclass(frozen=True)
class Row:
    """A training to measure.

    Attributes:
        label (str): What it is.
        config (str): Its config.
        nano (str): The config that takes its place in nano.
        counts (tuple[int, int]): Labelled and unlabelled images.
        size (tuple[int, int]): (H, W) of the images.
        precisions (tuple[str, ...]): Precisions to measure.
    """

    label: str
    config: str
    nano: str
    counts: tuple[int, int]
    size: tuple[int, int]
    precisions: tuple[str, ...]


ROWS = (
    Row('Guided Distillation, R50', 'guided_distillation_cityscapes_10p',
        'guided_distillation_shapes_5p', (4, 4), (512, 1024),
        ('bf16', 'off')),
    Row('S4M student, R50, COCO', 's4m_coco_10p', 's4m_shapes_5p', (3, 3),
        (1024, 1024), ('bf16',)),
    Row('SSKD stage 2, DINOv2-S', 'sskd_distill_cityscapes_10p',
        'sskd_distill_shapes_5p', (1, 1), (512, 1024), ('bf16',)),
    Row('Guided Distillation, DINOv2-L',
        'guided_distillation_dinov2_vit_l_cityscapes_10p',
        'guided_distillation_shapes_5p', (4, 4), (512, 1024), ('bf16',)),
    Row('S4M teacher, R50', 's4m_teacher_cityscapes_10p',
        's4m_teacher_shapes_5p', (4, 0), (512, 1024), ('bf16',)),
)  # fmt: skip


def _classes(cfg: Config) -> int:
    return num_classes(cfg)


def run(device: torch.device, nano: bool, report: Report) -> None:
    """Measure the rows, and the prediction of one image with the first."""
    began = time.perf_counter()
    # In nano, each config once.
    once = {row.nano: row for row in reversed(ROWS)}
    for row in once.values() if nano else ROWS:
        left = SECONDS - (time.perf_counter() - began)
        if left < 8:
            report.add('left out', model=row.label, seconds_left=left)
            continue
        try:
            _measure_row(row, device, nano, left, report)
        except Exception:
            report.error(row.label, traceback.format_exc())
        gc.collect()
        if device.type == 'cuda':
            torch.cuda.empty_cache()


def _measure_row(
    row: Row, device: torch.device, nano: bool, left: float, report: Report
) -> None:
    cfg = read_config(row.nano if nano else row.config, nano)
    step = TrainingStep(cfg, build(cfg, device), device, 5 if nano else 20)
    step.batch = make_batch(
        cfg.model.type,
        (1, 1) if nano else row.counts,
        (64, 128) if nano else row.size,
        _classes(cfg),
        5 if nano else 20,
    )
    for precision in row.precisions:
        try:
            step.use(precision)
            result, phases = measure_step(
                step,
                step.phases,
                warmup=0 if nano else 2,
                rounds=1 if nano else 4,
                phase_rounds=1,
                seconds=min(15.0, left),
            )
            result['images_s'] = 1000 * step.images / result['ms']
            labels = dict(model=row.label, images=row.counts,
                          precision=precision)  # fmt: skip
            report.add('training steps', **labels, **result, **step.values())
            report.add('phases in ms', **labels, **phases)
        except Exception:
            report.error(f'{row.label} {precision}', traceback.format_exc())
    if row.label == ROWS[0].label:
        _predict(step, cfg, device, nano, report)


@torch.no_grad()
def _predict(
    step: TrainingStep, cfg: Config, device: torch.device, nano: bool,
    report: Report,
) -> None:  # fmt: skip
    """Measure the prediction of a 1024 x 2048 image, from the host on."""
    size = (64, 128) if nano else (1024, 2048)
    data = make_batch('plain', (1, 0), size, _classes(cfg), 5)
    model: Any = step.model.eval()
    precisions = {'fp32': None, 'bf16': torch.bfloat16}
    for name, dtype in precisions.items():
        if dtype is not None and device.type != 'cuda':
            continue

        def predict(dtype: torch.dtype | None = dtype) -> None:
            enabled = dtype is not None
            with torch.autocast(device.type, dtype, enabled=enabled):
                model.test_step(data)

        try:
            predict()
            reset_peak(device)
            ms = milliseconds(predict, device, 1 if nano else 5, 1)
            report.add('prediction of one image', size=size, precision=name,
                       ms=ms, peak_gib=peak_gib(device))  # fmt: skip
        except Exception:
            report.error(f'prediction {name}', traceback.format_exc())
    model.train()
