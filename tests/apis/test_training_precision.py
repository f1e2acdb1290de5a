# SPDX-License-Identifier: Apache-2.0
"""The precision of a training: what is asked for, and a machine's default."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from s4m.apis import training
from s4m.apis.config import get_config
from s4m.apis.pipeline import is_trained, stages_of
from s4m.apis.precision import (
    describe_precision,
    precision_of,
    set_precision,
    tf32_in_fp32,
)
from s4m.apis.records import check_record, write_record

#: Compute capability of a machine's GPU.
MACHINES = dict(ampere=(8, 0), volta=(7, 0), cpu=None)
DEFAULTS = dict(ampere='bf16', volta='fp16', cpu='off')


@pytest.fixture
def machine(monkeypatch):
    """Choose the GPU that PyTorch sees."""

    def choose(name: str) -> None:
        capability = MACHINES[name]
        for function, value in dict(
            is_available=capability is not None,
            get_device_capability=capability,
            get_device_name=name,
        ).items():
            monkeypatch.setattr(
                torch.cuda, function, lambda *_, value=value: value
            )

    return choose


def _config(**wrapper) -> Config:
    return Config(dict(optim_wrapper=dict(type='OptimWrapper') | wrapper))


@pytest.mark.parametrize('name', MACHINES)
def test_default__of_each_machine(machine, name):
    machine(name)
    cfg = _config()
    set_precision(cfg)
    assert precision_of(cfg.optim_wrapper) == DEFAULTS[name]
    assert ('scale' in describe_precision(cfg)) == (name == 'volta')
    assert 'the default on' in describe_precision(cfg)
    # The config that a run has written, on every other machine.
    for other in MACHINES:
        machine(other)
        copy = cfg.copy()
        set_precision(copy)
        assert precision_of(copy.optim_wrapper) == DEFAULTS[other]
        assert copy.default_precision


def test_values__of_the_wrapper(machine):
    """bf16 needs no scaling; fp32 leaves nothing of another precision."""
    machine('ampere')
    cfg = _config(optimizer=dict(lr=1))
    for amp, dtype, scale in (
        ('bf16', 'bfloat16', dict(enabled=False)),
        ('fp16', 'float16', 'dynamic'),
    ):
        set_precision(cfg, amp)
        assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
        assert cfg.optim_wrapper.dtype == dtype
        assert cfg.optim_wrapper.loss_scale == scale
        assert 'default_precision' not in cfg
    set_precision(cfg, 'off')
    assert cfg.optim_wrapper == dict(type='OptimWrapper', optimizer=dict(lr=1))
    assert describe_precision(cfg).startswith('Precision: fp32 with TF32')


def test_config_that_names_one__keeps_it(machine):
    machine('ampere')
    for wrapper in (
        dict(type='AmpOptimWrapper', dtype='float16'),
        dict(type='ApexOptimWrapper'),
    ):
        cfg = _config(**wrapper)
        set_precision(cfg)
        assert cfg.optim_wrapper == wrapper
        assert 'default_precision' not in cfg


def test_bad_value(machine):
    machine('cpu')
    for amp in ('bf16', 'fp16'):
        with pytest.raises(ValueError, match=f'--amp {amp} needs a GPU'):
            set_precision(_config(), amp)
    set_precision(_config(), 'off')
    with pytest.raises(ValueError, match=r"one of .* got 'fp8'"):
        set_precision(_config(), 'fp8')
    machine('volta')
    with pytest.raises(
        ValueError, match=r'volta has no bf16\. Use --amp fp16'
    ):
        set_precision(_config(), 'bf16')


def test_tf32__in_fp32_only(machine):
    machine('ampere')
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    for amp, allowed in (('off', True), ('bf16', before)):
        cfg = _config()
        set_precision(cfg, amp)
        with tf32_in_fp32(cfg):
            assert matmul.allow_tf32 == allowed
        assert matmul.allow_tf32 == before


@pytest.fixture
def write(machine, tmp_path):
    """Record a training of a machine, and return its folder."""

    def run(name: str, amp: str | None) -> Config:
        machine(name)
        cfg = get_config('supervised_shapes_5p')
        cfg.work_dir = str(tmp_path / f'{name}_{amp}')
        set_precision(cfg, amp)
        write_record(cfg)
        return cfg

    return run


@pytest.mark.parametrize(
    ('begun', 'now', 'same'),
    [
        # (machine, --amp): the default, here and elsewhere.
        (('ampere', None), ('ampere', None), True),
        (('ampere', None), ('volta', None), True),
        (('ampere', None), ('cpu', None), True),
        (('cpu', None), ('ampere', None), True),
        # Named, but what the default is anyway.
        (('ampere', 'bf16'), ('ampere', None), True),
        (('ampere', None), ('ampere', 'bf16'), True),
        (('cpu', None), ('cpu', 'off'), True),
        # Named, and another.
        (('ampere', 'off'), ('ampere', None), False),
        (('ampere', None), ('ampere', 'off'), False),
        (('ampere', 'fp16'), ('ampere', 'bf16'), False),
    ],
)
def test_record__default_and_named(write, machine, begun, now, same):
    work_dir = write(*begun).work_dir
    machine(now[0])
    cfg = get_config('supervised_shapes_5p')
    set_precision(cfg, now[1])
    if same:
        check_record(work_dir, cfg)
    else:
        with pytest.raises(ValueError, match=r'optim_wrapper\.'):
            check_record(work_dir, cfg)


def test_is_trained__on_another_machine(machine, tmp_path, monkeypatch):
    """A training on a GPU counts where its result is evaluated."""
    monkeypatch.chdir(tmp_path)
    (stage,) = stages_of(
        'supervised_shapes_5p', cfg_options={'train_cfg.max_iters': 6}
    )
    cfg = stage.load()
    cfg.work_dir = str(stage.makes)
    machine('ampere')
    set_precision(cfg)
    write_record(cfg)
    torch.save({}, stage.makes / 'iter_6.pth')
    last = stage.makes / 'last_checkpoint'
    last.write_text(str(stage.makes / 'iter_6.pth'))
    for name in MACHINES:
        machine(name)
        assert is_trained(stage)


def test_resume__in_another_precision_warns(write, machine):
    cfg = write('ampere', None)
    warnings = []
    runner = SimpleNamespace(
        cfg=cfg,
        work_dir=cfg.work_dir,
        logger=SimpleNamespace(warning=warnings.append),
    )
    training.warn_of_precision(runner)
    assert not warnings
    machine('volta')
    set_precision(cfg)
    training.warn_of_precision(runner)
    assert 'began with --amp bf16 and goes on with --amp fp16' in warnings[0]
