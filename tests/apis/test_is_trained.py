# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints count as the result of a stage."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint
from s4m.apis.pipeline import Stage, is_trained, stages_of
from s4m.apis.records import read_record, write_record


def _stage(**options) -> tuple[Stage, Config]:
    options = {'train_cfg.max_iters': 6} | options
    (stage,) = stages_of('supervised_shapes_5p', cfg_options=options)
    cfg = stage.load()
    cfg.work_dir = str(stage.makes)
    return stage, cfg


@pytest.fixture
def trained(tmp_path, monkeypatch) -> Stage:
    """A stage whose training is finished."""
    monkeypatch.chdir(tmp_path)
    stage, cfg = _stage()
    write_record(cfg)
    torch.save({}, stage.makes / 'iter_6.pth')
    last = stage.makes / 'last_checkpoint'
    last.write_text(str(stage.makes / 'iter_6.pth'))
    return stage


def test_last_checkpoint__names_another_file(trained):
    """The process was stopped while it saved the last checkpoint."""
    assert is_trained(trained)
    last = trained.makes / 'last_checkpoint'
    last.write_text(str(last.with_name('iter_4.pth')))
    assert not is_trained(trained)
    last.unlink()  # a copied folder
    assert is_trained(trained)


def test_former_checkpoint__of_another_config_does_not_count(trained):
    """A training began in its folder and was stopped at once."""
    stage, cfg = _stage(**{'optim_wrapper.optimizer.lr': 0.5})
    (stage.makes / 'stopped_early.json').write_text('{"iteration": 4}')
    write_record(cfg)
    assert not is_trained(stage)
    # tools/train.py --resume must not resume from the former checkpoint.
    assert find_latest_checkpoint(cfg.work_dir) is None
    write_record(cfg, resumed=True)
    assert not is_trained(stage)
    file = stage.makes / 'iter_6.pth'
    file.with_name('last_checkpoint').write_text(str(file))
    assert is_trained(stage)


@pytest.mark.parametrize('text', ['', '{}', '[]', '{"config": {"mod'])
def test_damaged_record__is_named(tmp_path, text):
    (tmp_path / 'trained_with.json').write_text(text)
    with pytest.raises(ValueError, match=r'trained_with\.json .* Remove it'):
        read_record(tmp_path)
