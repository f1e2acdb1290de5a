# SPDX-License-Identifier: Apache-2.0
"""What a work directory was trained with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from s4m.apis.config import get_config
from s4m.apis.records import (
    add_seconds,
    check_record,
    read_record,
    write_record,
)
from s4m.utils.checkpoints import find_checkpoint


def _checkpoint(folder: Path, value: int) -> None:
    folder.mkdir(exist_ok=True)
    torch.save(value, folder / 'iter_6.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_6.pth'))


@pytest.fixture
def cfg(tmp_path) -> Config:
    """A student whose teacher is there."""
    _checkpoint(tmp_path / 'teacher', 1)
    cfg = get_config('s4m_shapes_5p')
    cfg.work_dir = str(tmp_path / 'student')
    cfg.model.teacher_checkpoint = str(tmp_path / 'teacher')
    write_record(cfg)
    return cfg


def test_same_config__passes(cfg, tmp_path):
    check_record(cfg.work_dir, cfg)
    check_record(tmp_path / 'other', cfg)  # without a record
    cfg.merge_from_dict(
        {
            'train_cfg.val_interval': 7,
            'train_dataloader.num_workers': 1,
            'default_hooks.checkpoint.interval': 3,
            'log_level': 'ERROR',
            'my_variable': 1,
        }
    )
    check_record(cfg.work_dir, cfg)


def test_another_config__names_what_differs(cfg):
    cfg.train_cfg.max_iters = 9
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    message = (
        'was trained with another config: optim_wrapper.type "OptimWrapper" '
        'instead of "AmpOptimWrapper"; train_cfg.max_iters 800 instead of 9. '
        'Move .* away'
    )
    with pytest.raises(ValueError, match=message):
        check_record(cfg.work_dir, cfg)


def test_burn_in__is_part_of_the_config(cfg):
    cfg.default_hooks.mean_teacher.burn_in = 1
    with pytest.raises(ValueError, match=r'mean_teacher\.burn_in'):
        check_record(cfg.work_dir, cfg)


def test_teacher__that_was_trained_again(cfg, tmp_path):
    _checkpoint(tmp_path / 'teacher', 2)
    with pytest.raises(ValueError, match='was trained again since'):
        check_record(cfg.work_dir, cfg)
    # Deleted to save space: nothing contradicts.
    for file in (tmp_path / 'teacher').iterdir():
        file.unlink()
    check_record(cfg.work_dir, cfg)


def test_resumed__keeps_inputs_and_time(cfg, tmp_path):
    before = read_record(cfg.work_dir)
    add_seconds(cfg.work_dir, 2)
    _checkpoint(tmp_path / 'teacher', 2)
    write_record(cfg, resumed=True)
    add_seconds(cfg.work_dir, 3)
    record = read_record(cfg.work_dir)
    assert record['seconds'] == 5
    assert record['inputs'] == before['inputs'] != {}
    write_record(cfg)
    assert read_record(cfg.work_dir)['seconds'] == 0
    check_record(cfg.work_dir, cfg)


def test_trained_again__the_former_best_is_not_found(cfg):
    folder = Path(cfg.work_dir)
    best = folder / 'best_student_cityscapes_mAP_iter_6.pth'
    torch.save(1, best)
    assert find_checkpoint(folder) == best
    write_record(cfg, resumed=True)
    assert find_checkpoint(folder) == best
    write_record(cfg)
    former = folder / f'former_{best.name}'
    assert former.is_file() and not best.is_file()
    with pytest.raises(FileNotFoundError):
        find_checkpoint(folder)
    assert former.name in read_record(folder)['former_checkpoints']
