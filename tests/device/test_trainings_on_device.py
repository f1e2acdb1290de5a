# SPDX-License-Identifier: Apache-2.0
"""Every method trains on a device, in every precision."""

from __future__ import annotations

import copy
import itertools
from types import SimpleNamespace

import pytest
import torch
from device_runs import METHODS, method_config, train_method
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from s4m.apis.gpu_check.networks import checkpointing
from s4m.apis.precision import set_precision
from s4m.apis.records import read_record

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]


@pytest.fixture(scope='module', params=METHODS)
def run(request, device, shared_config, shapes_root):
    """A method after two iterations in the default precision."""
    cfg = method_config(
        request.param,
        shared_config,
        shapes_root,
        lambda: request.getfixturevalue('bert'),
    )
    cfg.work_dir += request.param
    runner = train_method(cfg)
    batches = itertools.islice(iter(runner.train_dataloader), 2)
    return SimpleNamespace(runner=runner, batches=list(batches))


def test_default__is_bf16(run):
    """Weights on the device, finite; the log and the record say how."""
    runner = run.runner
    assert runner.iter == 2
    for name, value in runner.model.state_dict().items():
        assert value.is_cuda and torch.isfinite(value).all(), name
    wrapper = runner.optim_wrapper
    assert wrapper.cast_dtype == torch.bfloat16
    assert read_record(runner.work_dir)['default_precision']
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 2 and all(abs(v) < float('inf') for v in losses)


def _wrapper(run, precision: str, counts: int):
    cfg = Config(
        dict(optim_wrapper=copy.deepcopy(run.runner.cfg.optim_wrapper))
    )
    set_precision(cfg, precision)
    cfg.optim_wrapper.accumulative_counts = counts
    if precision == 'fp16':
        # At its first value of 65536, nano models overflow, and a step waits.
        cfg.optim_wrapper.loss_scale = 16.0
    model = run.runner.model
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper.to_dict())
    wrapper.initialize_count_status(model, 0, 2)
    return wrapper


def _weights(model) -> torch.Tensor:
    trained = [p.detach() for p in model.parameters() if p.requires_grad]
    return torch.cat([p.flatten() for p in trained]).clone()


@pytest.mark.parametrize(
    ('precision', 'counts', 'checkpointed'),
    [('fp16', 1, False), ('bf16', 2, True)],
)
def test_step(run, precision, counts, checkpointed):
    """Weights change once, after the last of ``counts`` batches."""
    model = run.runner.model.train()
    wrapper = _wrapper(run, precision, counts)
    before = _weights(model)
    with checkpointing(model, checkpointed):
        for n, data in enumerate(run.batches[:counts]):
            assert torch.equal(_weights(model), before), n
            logs = model.train_step(copy.deepcopy(data), wrapper)
            assert torch.isfinite(logs['loss'])
    after = _weights(model)
    assert torch.isfinite(after).all() and not torch.equal(after, before)


def test_fp32__same_gradients_if_checkpointed(run):
    """In fp32 a recomputed activation is the same one."""
    model = run.runner.model.train()
    wrapper = _wrapper(run, 'off', 1)
    before = _weights(model)
    gradients = []
    for enabled in (False, True):
        state = copy.deepcopy(model.state_dict())
        with checkpointing(model, enabled) as parts:
            if enabled and not parts:
                break  # the backbone has no checkpointing
            model.zero_grad()
            torch.manual_seed(3)
            data = copy.deepcopy(run.batches[0])
            data = model.data_preprocessor(data, True)
            total, _ = model.parse_losses(model(**data, mode='loss'))
            total.backward()
        grads = {n: p.grad for n, p in model.named_parameters()}
        gradients.append({n: g for n, g in grads.items() if g is not None})
        # BatchNorm records a recomputed batch twice.
        model.load_state_dict(state)
    plain, *others = gradients
    for recomputed in others:
        assert plain.keys() == recomputed.keys() != set()
        for name, grad in plain.items():
            torch.testing.assert_close(recomputed[name], grad, msg=name)
    wrapper.step()
    after = _weights(model)
    assert torch.isfinite(after).all() and not torch.equal(after, before)
