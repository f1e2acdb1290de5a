# SPDX-License-Identifier: Apache-2.0
"""Configs by path, by name and from other packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.hub import get_config as get_scoped_config
from mmengine.registry import MODELS, init_default_scope
from s4m.apis.config import (
    find_config,
    get_config,
    list_configs,
    load_config,
)
from s4m.apis.model_index import make_metafile

GUIDED = 'guided_distillation/guided_distillation_cityscapes_10p.py'


def test_list__names_all_leaf_files():
    files = [
        path.stem
        for path in (ROOT / 'configs').rglob('*.py')
        if '_base_' not in str(path)
    ]
    assert list_configs() == sorted(files)
    assert len(set(files)) == len(files)


@pytest.mark.parametrize(
    'name',
    [
        f'configs/{GUIDED}',
        f's4m::{GUIDED}',
        'guided_distillation_cityscapes_10p',
    ],
)
def test_get_config__ways_to_name_one(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = get_config(name, {'model.semi_train_cfg.unsup_weight': 3})
    assert cfg.model.semi_train_cfg.unsup_weight == 3
    want = Config.fromfile(ROOT / 'configs' / GUIDED)
    want.model.semi_train_cfg.unsup_weight = 3
    assert cfg.to_dict() == want.to_dict()


def test_base__of_the_package_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('mine.py').write_text(
        f"_base_ = 's4m::{GUIDED}'\n"
        'train_cfg = dict(max_iters=7)\n'
        'train_dataloader = _base_.train_dataloader\n'
        'model = dict(detector=dict(backbone=dict(init_cfg=None)))\n'
    )
    cfg = get_config('mine.py')
    assert cfg.train_cfg.max_iters == 7
    assert cfg.model.type == 'SemiInstanceSegmentor'
    # MMEngine builds this part in the scope s4m.
    assert cfg.train_dataloader.dataset._scope_ == 's4m'
    init_default_scope('mmdet')
    for part in ('model', 'data_preprocessor'):
        node = dict(cfg.model if part == 'model' else cfg.model[part])
        node['_scope_'] = 's4m'
        MODELS.build(node)
    # Those of the root have no folder, which MMEngine's rule asks for.
    Path('mine.py').write_text("_base_ = 's4m::_base_/../s4m_coco_10p.py'")
    model = get_config('mine.py').model
    assert model.teacher_checkpoint == 'work_dirs/s4m_teacher_coco_10p'


def test_other_packages__as_mmengine_has_them():
    name = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
    assert get_config(name).model.type == 'MaskRCNN'
    ours = get_scoped_config(f's4m::{GUIDED}')
    assert ours.model.type == 'SemiInstanceSegmentor'


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('configs/none.py', 'configs/none.py does not exist'),
        ('s4m::none/none.py', 'does not exist'),
        ('s4m_cityscapes_7p', r'no config s4m_cityscapes_7p\.py; .*_10p'),
    ],
)
def test_missing__is_named(name, message):
    with pytest.raises(FileNotFoundError, match=message):
        get_config(name)


def test_find__beside_first(tmp_path):
    (tmp_path / 'supervised_coco_10p.py').touch()
    name = 'supervised_coco_10p'
    assert find_config(name, tmp_path) == tmp_path / f'{name}.py'
    assert find_config(name).is_relative_to(ROOT)


def test_load__work_dir_and_split():
    name = 's4m_cityscapes_10p'
    assert load_config(name).work_dir == f'work_dirs/{name}'
    assert load_config(name, work_dir='x').work_dir == 'x'
    cfg = load_config(name, split='seed0@10')
    assert cfg.work_dir == f'work_dirs/seed0@10/{name}'
    assert cfg.model.teacher_checkpoint == (
        'work_dirs/seed0@10/s4m_teacher_cityscapes_10p'
    )
    options = {'model.teacher_checkpoint': 'teacher.pth'}
    cfg = load_config(name, split='seed0@10', cfg_options=options)
    assert cfg.model.teacher_checkpoint == 'teacher.pth'


def test_metafile__is_made_from_the_configs():
    file = ROOT / 'configs/metafile.yml'
    data = load(str(file))
    assert data == make_metafile(), 'run tools/misc/model_index.py'
    assert all((ROOT / m['Config']).is_file() for m in data['Models'])
    by_name = {m['Name']: m for m in data['Models']}
    (result,) = by_name['s4m_cityscapes_10p']['Results']
    assert result == dict(
        Task='Instance Segmentation',
        Dataset='Cityscapes',
        Metrics={'mask AP': 33.3},
    )
