# SPDX-License-Identifier: Apache-2.0
"""detectron2's layout and back: names, numbers and trainings."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from conftest import CLASSES
from detectron2_files import predict, released, save, small_mask2former
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from s4m.apis import detectron2_keys as keys
from s4m.apis.convert import (
    convert_to_detectron2,
    convert_to_mmdet,
    detectron2_to_mmdet,
    mmdet_to_detectron2,
)
from s4m.utils.checkpoints import load_teacher


@pytest.mark.parametrize('swin', [False, True], ids=['resnet', 'swin'])
def test_student_and_teacher__same_outputs(tmp_path, swin):
    file, _, net = released(tmp_path, swin)
    image = torch.randn(1, 3, 64, 96)
    want = predict(net, image)
    checkpoint, cfg = convert_to_mmdet(file, model='student')
    again = revert_sync_batchnorm(MODELS.build(cfg)).eval()
    again.load_state_dict(checkpoint['state_dict'])
    for a, b in zip(predict(again, image), want, strict=True):
        assert torch.equal(a, b)
    meta = checkpoint['meta']
    assert meta['dataset_meta']['classes'] == CLASSES
    assert len(meta['converted_from']['sha256']) == 64
    teacher, _ = convert_to_mmdet(file, model='teacher')
    for key, value in teacher['state_dict'].items():
        moved = value - 1 if value.is_floating_point() else value
        torch.testing.assert_close(moved, checkpoint['state_dict'][key])


@pytest.mark.parametrize('swin', [False, True], ids=['resnet', 'swin'])
@pytest.mark.parametrize('frozen', [False, True])
def test_round_trip__exact(tmp_path, swin, frozen):
    """Also of a file whose frozen norms have no counters."""
    file, state, _ = released(tmp_path, swin)
    if frozen:
        state = {k: v for k, v in state.items() if 'num_batches' not in k}
        save(file, state)
    checkpoint, _ = convert_to_mmdet(file, model='both')
    torch.save(checkpoint, tmp_path / 'ours.pth')
    back = convert_to_detectron2(tmp_path / 'ours.pth')['model']
    assert back.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(back[key], value), key
    student, _ = convert_to_mmdet(file, model='student')
    torch.save(student, tmp_path / 'student.pth')
    back = convert_to_detectron2(tmp_path / 'student.pth')['model']
    assert back.keys() == {k for k in state if k.startswith('modelStudent.')}


def test_own_checkpoint__to_a_plain_mask2former(tmp_path):
    """Trained here, never in detectron2: the loss's weights are made."""
    net = small_mask2former()
    torch.save(dict(state_dict=net.state_dict()), tmp_path / 'own.pth')
    back = convert_to_detectron2(tmp_path / 'own.pth')['model']
    weight = back.pop('criterion.empty_weight')
    assert weight.tolist() == pytest.approx([1.0] * 8 + [0.1])
    assert back.keys() == keys.to_detectron2(net.state_dict()).keys()


def test_zoo__pickled_arrays_and_old_names(tmp_path):
    net = small_mask2former()
    own = keys.to_detectron2(net.state_dict())
    name = 'sem_seg_head.predictor.query_feat.weight'
    own[name.replace('query_feat', 'static_query')] = own.pop(name)
    arrays = {k: v.numpy() for k, v in own.items()}
    file = tmp_path / 'zoo.pkl'
    content = {'model': arrays, '__author__': 'Mask2Former'}
    file.write_bytes(pickle.dumps(content, protocol=2))
    checkpoint, cfg = convert_to_mmdet(file)
    assert cfg.backbone.depth == 50 and cfg.panoptic_head.num_queries == 20
    for key, value in net.state_dict().items():
        assert torch.equal(checkpoint['state_dict'][key], value), key


def test_both__loads_in_the_segmentor(tmp_path):
    file, _, _ = released(tmp_path)
    checkpoint, cfg = convert_to_mmdet(file, model='both')
    mean, std = cfg.data_preprocessor.mean, cfg.data_preprocessor.std
    model = MODELS.build(
        dict(
            type='SemiInstanceSegmentor',
            detector=cfg,
            data_preprocessor=dict(
                type='SemiDataPreprocessor', mean=mean, std=std
            ),
            pseudo_labeler=dict(type='QueryPseudoLabeler'),
        )
    )
    model.load_state_dict(checkpoint['state_dict'])


def test_teacher_checkpoint__training_goes_on(tmp_path):
    """A converted teacher is what ``teacher_checkpoint`` loads."""
    file, _, _ = released(tmp_path)
    target = tmp_path / 'teacher.pth'
    assert detectron2_to_mmdet(file, target, model='teacher') == target
    cfg = Config.fromfile(target.with_suffix('.py'))
    model = MODELS.build(cfg.model)
    load_teacher(model, target)
    want = torch.load(target, weights_only=True)['state_dict']
    for key, value in model.state_dict().items():
        assert torch.equal(value, want[key])


def test_trained_here__both_networks_there_and_back(tmp_path, shapes_config):
    """Guided burn-in with a converted teacher; then its checkpoint."""
    file, _, _ = released(tmp_path)
    checkpoint, detector = convert_to_mmdet(file, model='teacher')
    torch.save(checkpoint, tmp_path / 'teacher.pth')
    cfg = shapes_config('guided_distillation_shapes_5p', iters=1)
    detector.train_cfg.num_points = 64
    cfg.model.detector = detector
    cfg.model.teacher_checkpoint = str(tmp_path / 'teacher.pth')
    cfg.train_cfg.val_begin = 10
    runner = Runner.from_cfg(cfg)
    runner.train()
    for key, value in runner.model.teacher.state_dict().items():
        assert torch.equal(value, checkpoint['state_dict'][key]), key

    trained = Path(cfg.work_dir) / 'iter_1.pth'
    # torch's restricted reader refuses the message hub in it.
    with pytest.raises(pickle.UnpicklingError, match='HistoryBuffer'):
        torch.load(trained, weights_only=True)
    there = mmdet_to_detectron2(trained, tmp_path / 'there.pth')
    state = torch.load(there, weights_only=True)['model']
    stem = 'backbone.stem.conv1.weight'
    for name in ('Student', 'Teacher'):
        want = getattr(runner.model, name.lower()).backbone.conv1.weight
        assert torch.equal(state[f'model{name}.{stem}'], want)
    back = detectron2_to_mmdet(there, tmp_path / 'back.pth', model='both')
    found = torch.load(back, weights_only=True)['state_dict']
    want = runner.model.state_dict()
    assert found.keys() == want.keys()
    for key, value in want.items():
        assert torch.equal(found[key], value), key
