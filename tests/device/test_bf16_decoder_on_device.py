# SPDX-License-Identifier: Apache-2.0
"""The pixel decoder in bf16 on a device, against the one in fp32."""

from __future__ import annotations

import copy

import pytest
import torch
from device_runs import method_config
from mmdet.registry import MODELS
from mmengine.optim import build_optim_wrapper
from s4m.apis.gpu_check.batches import ForcedPredictions, make_batch
from s4m.apis.precision import set_precision
from s4m.models.dense_heads import batched_losses

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]

METHODS = {
    'supervised': ('plain', (2, 0)),
    'guided_distillation': ('SemiInstanceSegmentor', (2, 2)),
    's4m': ('SemiInstanceSegmentor', (2, 2)),
}


@pytest.fixture(scope='module', params=METHODS)
def case(request, device, shared_config, shapes_root):
    """Config, model on the device, and a batch of a method."""
    cfg = method_config(request.param, shared_config, shapes_root, str)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    if hasattr(model, 'unsup_weight'):
        model.unsup_weight = 2.0
        # SAM's masks would follow from other points of other logits.
        ForcedPredictions(model.pseudo_labeler, 4)
    kind, counts = METHODS[request.param]
    batch = make_batch(kind, counts, (64, 128), 8, 4)
    return cfg, model.to('cuda').train(), batch


def _losses(case, precision: str, bf16: bool):
    """Losses of both kinds of images, and the gradient as a vector."""
    cfg, model, batch = case
    cfg = copy.deepcopy(cfg)
    set_precision(cfg, precision)
    cfg.optim_wrapper.accumulative_counts = 2
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper.to_dict())
    wrapper.initialize_count_status(model, 0, 10)
    for name in ('student', 'teacher'):
        network = getattr(model, name, model)
        network.panoptic_head.pixel_decoder.bf16 = bf16
    state = copy.deepcopy(model.state_dict())
    model.zero_grad()
    torch.manual_seed(3)
    # Of two batches, after which the optimiser steps.
    logs = model.train_step(copy.deepcopy(batch), wrapper)
    grads = [p.grad.flatten() for p in model.parameters()
             if p.grad is not None]  # fmt: skip
    model.load_state_dict(state)
    return {k: float(v) for k, v in logs.items()}, torch.cat(grads)


@pytest.fixture
def same_matches(monkeypatch):
    """Let a second run match as the first.

    Where two queries are equally good, rounding decides which one is matched,
    and the loss of its class is another.
    """
    assign, known = batched_losses.assign, []

    def record(*args):
        known.append(assign(*args))
        return known[-1]

    monkeypatch.setattr(batched_losses, 'assign', record)
    return lambda: monkeypatch.setattr(
        batched_losses, 'assign', lambda *_: known.pop(0)
    )


def test_losses__differ_by_rounding(case, same_matches):
    wanted, expected = _losses(case, 'bf16', False)
    same_matches()
    found, grad = _losses(case, 'bf16', True)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=2e-2, abs=2e-2), name
    assert torch.isfinite(grad).all()
    assert float(torch.cosine_similarity(grad, expected, dim=0)) > 0.99


def test_fp16__is_finite_with_the_loss_scaler(case):
    """The decoder is in fp32 there, so the option changes nothing."""
    runs = [_losses(case, 'fp16', bf16) for bf16 in (False, True)]
    assert runs[0][0] == runs[1][0]
    assert all(torch.isfinite(torch.tensor(list(r[0].values()))).all()
               for r in runs)  # fmt: skip
