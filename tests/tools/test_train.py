# SPDX-License-Identifier: Apache-2.0
"""Command lines refuse what cannot work, before anything is written."""

from __future__ import annotations

import argparse

import pytest
import torch
import train
from mmengine.config import Config


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
