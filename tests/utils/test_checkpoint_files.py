# SPDX-License-Identifier: Apache-2.0
"""The weights of the package by name, as MMEngine reads them."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import CheckpointLoader, load_checkpoint
from s4m.engine.hooks import BurnInMeanTeacherHook
from s4m.utils.checkpoint_files import asset_file
from s4m.utils.checkpoints import read_weights

NANO = {
    'mask2former_nano': 'mask2former_nano.py',
    'vit_nano': 'mask2former_vit_nano.py',
}
CLASSES = ['panoptic_head.cls_embed.weight', 'panoptic_head.cls_embed.bias']
QUERIES = 'panoptic_head.query_feat.weight', 'panoptic_head.query_embed.weight'


def _model(name: str) -> Config:
    return Config.fromfile(ROOT / 'configs/_base_/models' / NANO[name]).model


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    """What MMEngine's loader reports instead of an error."""
    seen: list[str] = []

    def note(message, logger=None, level=logging.INFO):
        if level >= logging.WARNING:
            seen.append(message)

    monkeypatch.setattr('mmengine.runner.checkpoint.print_log', note)
    return seen


@pytest.mark.parametrize('num_queries', [20, 100])
@pytest.mark.parametrize('name', list(NANO))
def test_init_cfg__all_but_the_classes(name, num_queries, warnings):
    """Every tensor is the file's; of the queries, the first ones."""
    cfg = _model(name)
    cfg.panoptic_head.num_queries = num_queries
    few = '?queries=20' if num_queries == 20 else ''
    cfg.init_cfg.checkpoint = f's4m://{name}{few}'
    cfg.panoptic_head.num_things_classes = 3
    cfg.panoptic_head.loss_cls.class_weight = [1.0] * 3 + [0.1]
    cfg.panoptic_fusion_head.num_things_classes = 3
    model = MODELS.build(cfg)
    model.init_weights()
    file = torch.load(asset_file(f's4m://{name}'), weights_only=True)
    saved = file['state_dict']
    loaded = model.state_dict()
    assert sorted(set(loaded) - set(saved)) == sorted(CLASSES)
    assert not set(saved) - set(loaded)
    for key, value in saved.items():
        value = value[:num_queries] if key in QUERIES else value
        expected = value.float() if value.is_floating_point() else value
        assert torch.equal(loaded[key], expected), key
        assert value.dtype in (torch.float16, torch.int64)
    assert len(saved[QUERIES[0]]) == 100
    # Only the fresh keys are reported, in one line.
    (message,) = warnings
    assert message.split('state_dict: ')[1].strip().split(', ') == CLASSES


@pytest.mark.parametrize('name', list(NANO))
def test_init_cfg__of_a_backbone(name, warnings):
    cfg = _model(name).backbone
    cfg.init_cfg = dict(
        type='Pretrained', checkpoint=f's4m://{name}', prefix='backbone.'
    )
    backbone = MODELS.build(cfg)
    backbone.init_weights()
    saved = read_weights(f's4m://{name}')
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, saved[f'backbone.{key}'].to(value.dtype))
    assert not warnings


def test_load_from__as_a_runner_reads_it(warnings):
    cfg = _model('mask2former_nano')
    cfg.init_cfg = None
    model = MODELS.build(cfg)
    load_checkpoint(model, 's4m://mask2former_nano?queries=20', 'cpu')
    weight = read_weights('s4m://mask2former_nano')['backbone.conv1.weight']
    assert torch.equal(model.backbone.conv1.weight, weight.float())
    assert len(warnings) == 1


@pytest.mark.parametrize('name', ['mask2former', 'nano_sam2', '../x', ''])
def test_unknown_name__lists_the_known_ones(name):
    with pytest.raises(FileNotFoundError) as error:
        CheckpointLoader.load_checkpoint(f's4m://{name}')
    assert f'no weights s4m://{name};' in str(error.value)
    assert 's4m://mask2former_nano, s4m://vit_nano.' in str(error.value)


def test_size__of_all_weights():
    files = [asset_file(f's4m://{name}') for name in NANO]
    assert sum(f.stat().st_size for f in files) < 8e6


def test_teacher_and_student__both_start_from_it(shapes_config):
    cfg = shapes_config('guided_distillation_shapes_5p').model
    cfg.teacher_checkpoint = None
    model = MODELS.build(cfg)
    model.init_weights()
    saved = read_weights('s4m://mask2former_nano')
    for part in (model.teacher, model.student):
        state = part.state_dict()
        for key in ('backbone.layer4.1.conv2.weight', QUERIES[0]):
            assert torch.equal(state[key], saved[key][: len(state[key])])
        assert 'cls_embed' in ' '.join(state)


def test_teacher_checkpoint__wins(shapes_config, tmp_path):
    cfg = shapes_config('guided_distillation_shapes_5p').model
    teacher = MODELS.build(cfg.detector)
    for param in teacher.parameters():
        param.data.fill_(0.25)
    torch.save(dict(state_dict=teacher.state_dict()), tmp_path / 'a.pth')
    cfg.teacher_checkpoint = str(tmp_path / 'a.pth')
    model = MODELS.build(cfg)
    model.init_weights()
    hook = BurnInMeanTeacherHook(burn_in=1)
    hook.before_train(
        SimpleNamespace(
            model=model,
            iter=0,
            hooks=[hook],
            optim_wrapper=None,
            _load_from=None,
        )
    )
    assert all((p == 0.25).all() for p in model.teacher.parameters())
    saved = read_weights('s4m://mask2former_nano')['backbone.conv1.weight']
    assert torch.equal(model.student.backbone.conv1.weight, saved.float())


@pytest.mark.parametrize('option', ['queries=101', 'queries=x', 'few=2', 'x'])
def test_queries__that_the_file_does_not_have(option):
    with pytest.raises(ValueError, match='at most 100'):
        CheckpointLoader.load_checkpoint(f's4m://mask2former_nano?{option}')
