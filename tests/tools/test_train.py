# SPDX-License-Identifier: Apache-2.0
"""Command lines refuse what cannot work, before anything is written."""

from __future__ import annotations

import argparse
import json
import re
from types import SimpleNamespace

import pytest
import torch
import train
from conftest import ROOT
from mmengine.config import Config
from mmengine.hooks import EarlyStoppingHook


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    with pytest.raises(SystemExit, match='4 GPUs were asked for'):
        train.check_gpus()
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    train.check_gpus()


def test_missing_config():
    args = argparse.Namespace(config='configs/none.py', local_rank=0)
    with pytest.raises(SystemExit, match='does not exist'):
        train.load_config(args)


@pytest.mark.parametrize('dtype', ['bf16', 'fp16'])
def test_amp(monkeypatch, dtype):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit, match='needs a GPU'):
        train.set_amp(cfg, dtype)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    train.set_amp(cfg, dtype)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.dtype == (
        'bfloat16' if dtype == 'bf16' else 'float16'
    )


def test_resume__first_run_keeps_load_from(tmp_path):
    """Stage 3 of SSKD starts from stage 2 although it is always resumed."""
    cfg = Config(dict(work_dir=str(tmp_path), load_from='x.pth', resume=False))
    train.set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'x.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    train.set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, None)
    train.set_resume(cfg, 'iter_1.pth')
    assert (cfg.resume, cfg.load_from) == (True, 'iter_1.pth')


def _documented_stopping() -> tuple[dict, dict]:
    """docs/training.md: of the command line, and of the config."""
    text = (ROOT / 'docs/training.md').read_text()
    options = dict(
        re.findall(r'default_hooks\.early_stopping\.(\w+)=([^\s`]+)', text)
    )
    (code,) = re.findall(r'```python\n(.*?)```', text, re.S)
    config: dict = {}
    exec(code, config)
    return options, config['default_hooks']['early_stopping']


def test_early_stopping__as_documented():
    """Goes on while the AP rises slowly, from an AP of 0, and then ends."""
    options, config = _documented_stopping()
    assert options == {k: str(v) for k, v in config.items()}
    kind, monitor = config.pop('type'), config['monitor']
    assert kind == 'EarlyStoppingHook'
    hook = EarlyStoppingHook(**config)
    loop = SimpleNamespace(stop_training=False)
    runner = SimpleNamespace(
        train_loop=loop, logger=SimpleNamespace(info=lambda text: None)
    )
    scores = [0.0, 0.0, *(0.005 * k for k in range(20))]
    for score in scores:
        hook.after_val_epoch(runner, {monitor: score})
        assert not loop.stop_training
    for _ in range(5):
        assert not loop.stop_training
        hook.after_val_epoch(runner, {monitor: scores[-1] - 0.01})
    assert loop.stop_training


@pytest.mark.parametrize('stopped', [False, True])
def test_early_stopping__leaves_a_note(tmp_path, stopped):
    note = tmp_path / train.STOPPED_EARLY
    note.write_text('{"iteration": 1}')

    def run():
        assert not note.exists()  # an earlier run's

    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        rank=0,
        iter=3,
        train=run,
        train_loop=SimpleNamespace(stop_training=stopped),
    )
    train.run_training(runner)
    assert note.exists() == stopped
    if stopped:
        assert json.loads(note.read_text()) == dict(iteration=3)
