# SPDX-License-Identifier: Apache-2.0
"""A step of each method on the device against the host's."""

from __future__ import annotations

import copy
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from torch import Tensor, nn

from s4m.models.promptable import SegmenterOwner

from .batches import ForcedPredictions, make_batch
from .nano_trainings import METHODS, make_data, quick_configs, shapes_config
from .networks import num_classes, read_config
from .random_draws import host_draws, seed_everything
from .report import Report

#: Largest relative difference of a loss.
LIMITS = dict(fp32=1e-3, bf16=2e-2)
_NANO = ('s4m',)


def losses_of(
    model: Any, data: dict[str, Any], device: torch.device, half: bool
) -> tuple[dict[str, float], Tensor]:
    """Compute losses and gradients, with random numbers of the host.

    Args:
        model (nn.Module): Model on the device, in training mode.
        data (dict): Batch of the loader.
        device (torch.device): The device.
        half (bool): Whether to compute in bf16.

    Returns:
        tuple[dict, Tensor]: Losses, summed over a list's items, and the
        gradients of all parameters as one vector on the host.
    """
    model.zero_grad()
    seed_everything(0)
    with (
        host_draws(),
        torch.autocast(device.type, torch.bfloat16, enabled=half),
    ):
        batch = model.data_preprocessor(copy.deepcopy(data), True)
        losses = model(**batch, mode='loss')
        total, _ = model.parse_losses(losses)
    total.backward()
    grads = torch.cat(
        [
            torch.zeros_like(p).flatten() if p.grad is None
            else p.grad.flatten()
            for p in model.parameters() if p.requires_grad
        ]
    )  # fmt: skip
    values = {'total': float(total.detach())}
    for name, value in losses.items():
        parts = value if isinstance(value, list | tuple) else [value]
        values[name] = sum(float(part.detach().mean()) for part in parts)
    return values, grads.detach().double().cpu()


def compare(
    name: str,
    model: nn.Module,
    data: dict[str, Any],
    device: torch.device,
    report: Report,
) -> None:
    """Compare a model's losses on the device with the host's fp32.

    Args:
        name (str): What it is, for the report.
        model (nn.Module): Model on the host, in training mode.
        data (dict): Batch of the loader.
        device (torch.device): The device.
        report (Report): Gets a row for each precision.
    """
    host = torch.device('cpu')
    state = copy.deepcopy(model.state_dict())
    wanted, direction = losses_of(model, data, host, False)
    for precision, limit in LIMITS.items():
        if precision == 'bf16' and device.type != 'cuda':
            continue
        try:
            model.load_state_dict(state)  # statistics of BatchNorm
            model.to(device)
            found, grads = losses_of(model, data, device, precision == 'bf16')
            differ = {
                # Small losses are rounding errors of larger terms.
                key: abs(found[key] - value) / max(abs(value), 0.1)
                for key, value in wanted.items()
            }
            worst = max(differ, key=lambda key: differ[key])
            norm = float(direction.norm())
            cosine = float(direction @ grads / (norm * grads.norm()))
            report.add(
                'losses against the host',
                step=name,
                precision=precision,
                passed=differ[worst] <= limit,
                worst=differ[worst],
                loss=worst,
                of=len(differ),
                total_differs=differ['total'],
                gradient_norm_ratio=float(grads.norm()) / norm,
                gradient_cosine=cosine,
            )
            if differ[worst] > limit:
                over = {k: [wanted[k], found[k]] for k, v in differ.items()
                        if v > limit}  # fmt: skip
                report.add('losses over the limit (host, device)', step=name,
                           precision=precision, losses=over)  # fmt: skip
        except Exception:
            report.error(f'{name} {precision}', traceback.format_exc())


def _prepare(cfg: Config, model: Any) -> nn.Module:
    model.init_weights()
    model = revert_sync_batchnorm(model).train()
    if hasattr(model, 'unsup_weight'):
        model.unsup_weight = 2.0
    owner = getattr(model, 'refiner', None) or model
    if isinstance(owner, SegmenterOwner):
        # In bf16, its masks would be other targets.
        segmenter: Any = owner.segmenter_on(torch.device('cpu'))
        segmenter.dtype = 'float32'
    return model


def _methods(
    device: torch.device, nano: bool, report: Report, folder: Path
) -> None:
    root = make_data(folder / 'shapes')
    for method in _NANO if nano else METHODS:
        try:
            cfg = shapes_config(method, root, folder / method)
            torch.manual_seed(0)
            model = _prepare(cfg, MODELS.build(cfg.model))
            loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
            compare(method, model, next(iter(loader)), device, report)
        except Exception:
            report.error(method, traceback.format_exc())


def _real_student(device: torch.device, nano: bool, report: Report) -> None:
    """Compare S4M's student with an R50 at 128 x 256, with the nano SAM 2."""
    name = 's4m_shapes_5p' if nano else 's4m_cityscapes_10p'
    cfg = read_config(name, nano=True)
    torch.manual_seed(0)
    model: Any = _prepare(cfg, MODELS.build(cfg.model))
    ForcedPredictions(model.pseudo_labeler, 5)
    size = (64, 128) if nano else (128, 256)
    data = make_batch(cfg.model.type, (2, 2), size, num_classes(cfg), 5)
    compare('s4m, R50, 128 x 256', model, data, device, report)


def run(device: torch.device, nano: bool, report: Report) -> None:
    """Compare each method on Shapes, and S4M's student with an R50."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    with tempfile.TemporaryDirectory() as folder, quick_configs():
        _methods(device, nano, report, Path(folder))
    try:
        _real_student(device, nano, report)
    except Exception:
        report.error('s4m, R50', traceback.format_exc())
