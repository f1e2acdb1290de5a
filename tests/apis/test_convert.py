# SPDX-License-Identifier: Apache-2.0
"""detectron2's layout and back: names, shapes, numbers and bad files."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASSES, ROOT
from mmdet.models.backbones.swin import swin_converter
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
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
from s4m.apis.mask2former_config import fitting_configs, model_config
from s4m.utils.checkpoints import load_teacher

#: Folder with outputs of the released reference, where somebody has it.
REFERENCE = Path(os.environ.get('S4M_REFERENCE', 'none'))


def _nano(swin: bool = False) -> torch.nn.Module:
    """A Mask2Former of few channels in MMDetection's classes."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/mask2former_nano.py')
    model = cfg.model
    head = model.panoptic_head
    head.type = 'Mask2FormerHead'
    head.pixel_decoder.type = 'MSDeformAttnPixelDecoder'
    head.pixel_decoder.norm_cfg = dict(type='GN', num_groups=32)
    if swin:
        model.backbone = dict(
            type='SwinTransformer',
            embed_dims=16,
            depths=[1, 2, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            convert_weights=False,
        )
        head.in_channels = [16, 32, 64, 128]
    else:
        model.backbone.update(depth=50, base_channels=8, stem_channels=8)
        head.in_channels = [32, 64, 128, 256]
    torch.manual_seed(0)
    net = revert_sync_batchnorm(MODELS.build(model)).eval()
    net.init_weights()
    for name, buffer in net.named_buffers():
        if 'running' in name:
            buffer.uniform_(0.5, 1.5)
    return net


def _predict(net, image):
    with torch.no_grad():
        cls, masks = net(image, [DetDataSample()], mode='tensor')
    return cls[-1], masks[-1]


def _save(path, model, **others):
    torch.save(dict(model=model, **others), path)
    return path


def _released(tmp_path, swin: bool = False):
    """A file as S4M's: student and teacher, and buffers of the losses."""
    net = _nano(swin)
    own = keys.to_detectron2(net.state_dict())
    own['criterion.empty_weight'] = torch.tensor([1.0] * 8 + [0.3])
    own['ssl_criterion.empty_weight'] = torch.ones(9)
    teacher = {
        k: v + 1 if v.is_floating_point() else v for k, v in own.items()
    }
    state = {f'modelStudent.{k}': v for k, v in own.items()}
    state |= {f'modelTeacher.{k}': v for k, v in teacher.items()}
    return _save(tmp_path / 'released.pth', state, iteration=9), state, net


@pytest.mark.parametrize('swin', [False, True], ids=['resnet', 'swin'])
def test_student_and_teacher__same_outputs(tmp_path, swin):
    file, _, net = _released(tmp_path, swin)
    image = torch.randn(1, 3, 64, 96)
    want = _predict(net, image)
    checkpoint, cfg = convert_to_mmdet(file, model='student')
    again = revert_sync_batchnorm(MODELS.build(cfg)).eval()
    again.load_state_dict(checkpoint['state_dict'])
    for a, b in zip(_predict(again, image), want, strict=True):
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
    file, state, _ = _released(tmp_path, swin)
    if frozen:
        state = {k: v for k, v in state.items() if 'num_batches' not in k}
        _save(file, state)
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
    net = _nano()
    torch.save(dict(state_dict=net.state_dict()), tmp_path / 'own.pth')
    back = convert_to_detectron2(tmp_path / 'own.pth')['model']
    weight = back.pop('criterion.empty_weight')
    assert weight.tolist() == pytest.approx([1.0] * 8 + [0.1])
    assert back.keys() == keys.to_detectron2(net.state_dict()).keys()


def test_swin_merging__as_mmdetections_converter():
    """MMDetection's own, for the original authors' files, is the oracle."""
    state = {
        'layers.1.downsample.reduction.weight': torch.randn(6, 12),
        'layers.1.downsample.norm.weight': torch.randn(12),
        'layers.1.downsample.norm.bias': torch.randn(12),
        'layers.1.blocks.0.attn.qkv.weight': torch.randn(9, 3),
        'layers.1.blocks.0.mlp.fc1.bias': torch.randn(9),
        'layers.1.blocks.0.mlp.fc2.bias': torch.randn(9),
        'layers.1.blocks.0.norm1.bias': torch.randn(9),
        'patch_embed.proj.weight': torch.randn(2, 3, 4, 4),
    }
    want = swin_converter(state)
    found = keys.to_mmdet({f'backbone.{k}': v for k, v in state.items()})
    assert found.keys() == want.keys()
    for key, value in want.items():
        assert torch.equal(found[key], value), key


def test_zoo__pickled_arrays_and_old_names(tmp_path):
    net = _nano()
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
    file, _, _ = _released(tmp_path)
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


@pytest.mark.parametrize('depth', [50, 101])
def test_full_size__shapes_are_found_again(depth):
    """The papers' models, without their memory."""
    base = ROOT / 'configs/_base_/models'
    cfg = Config.fromfile(base / 'mask2former_r50.py').model
    cfg.backbone.update(init_cfg=None, depth=depth)
    with torch.device('meta'):
        state = MODELS.build(cfg).state_dict()
    theirs = keys.to_detectron2(state)
    assert theirs['backbone.res5.2.conv3.weight'].shape == (2048, 512, 1, 1)
    ours = keys.to_mmdet(theirs)
    assert {k: v.shape for k, v in ours.items()} == {
        k: v.shape for k, v in state.items()
    }
    found = model_config(ours)
    assert found.backbone.depth == depth
    assert found.panoptic_head.num_queries == 100
    encoder = found.panoptic_head.pixel_decoder.encoder
    assert encoder.num_layers == 6
    assert encoder.layer_cfg.self_attn_cfg.num_points == 4
    fits = 'supervised/supervised_cityscapes_10p.py' in fitting_configs(found)
    assert fits == (depth == 50)


def test_teacher_checkpoint__training_goes_on(tmp_path):
    """A converted teacher is what ``teacher_checkpoint`` loads."""
    file, _, _ = _released(tmp_path)
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
    file, _, _ = _released(tmp_path)
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


# ------------------------------------------------------------------ bad files
class _Evil:
    def __reduce__(self):
        return os.system, ('touch evil',)


@pytest.mark.parametrize('suffix', ['.pkl', '.pth'])
def test_malicious__is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f'evil{suffix}'
    if suffix == '.pkl':
        file.write_bytes(pickle.dumps({'model': _Evil()}))
    else:
        torch.save({'model': _Evil()}, file)
    with pytest.raises(ValueError, match='holds more than tensors'):
        detectron2_to_mmdet(file, tmp_path / 'out.pth')
    assert not (tmp_path / 'evil').exists()


def _truncated(file, state):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _foreign(file, state):
    _save(file, {'conv.weight': torch.zeros(2)})


def _detection_only(file, state):
    """Without masks."""
    kept = {
        k: v
        for k, v in state.items()
        if 'mask_embed' not in k and 'pixel_decoder' not in k
    }
    _save(file, kept)


def _one_missing(file, state):
    state.pop('modelStudent.backbone.res3.1.conv2.weight')
    _save(file, state)


def _one_more(file, state):
    state['modelStudent.adapter.weight'] = torch.zeros(2)
    _save(file, state)


def _other_shape(file, state):
    name = 'modelStudent.sem_seg_head.predictor.query_embed.weight'
    state[name] = state[name][:3]
    _save(file, state)


def _no_dictionary(file, state):
    torch.save([torch.zeros(2)], file)


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (_truncated, 'cannot be read'),
        (_foreign, "not Mask2Former's: conv.weight"),
        (_detection_only, 'not a whole Mask2Former'),
        (_one_missing, r'missing \[.backbone.layer2.1.conv2.weight'),
        (_one_more, "not Mask2Former's: adapter.weight"),
        (_other_shape, r'another shape \[.panoptic_head.query_embed'),
        (_no_dictionary, 'holds a list'),
    ],
)
def test_bad_file__nothing_is_written(tmp_path, change, word):
    file, state, _ = _released(tmp_path)
    change(file, state)
    target = tmp_path / 'out/converted.pth'
    with pytest.raises(ValueError, match=word):
        detectron2_to_mmdet(file, target)
    assert not target.parent.exists()


def test_bad_wish(tmp_path):
    """Another number of classes; a teacher of a plain file."""
    file, _, net = _released(tmp_path)
    target = tmp_path / 'out/converted.pth'
    config = ROOT / 'configs/supervised/supervised_coco_10p.py'
    with pytest.raises(ValueError, match='has 8 classes, the config 80'):
        detectron2_to_mmdet(file, target, config=config)
    with pytest.raises(ValueError, match='no state_dict'):
        mmdet_to_detectron2(file, target)
    _save(file, keys.to_detectron2(net.state_dict()))
    with pytest.raises(ValueError, match='there is no teacher'):
        detectron2_to_mmdet(file, target, model='teacher')
    with pytest.raises(FileNotFoundError, match=r'none\.pth does not exist'):
        mmdet_to_detectron2('none.pth', target)
    assert not target.parent.exists()


@pytest.mark.parametrize('convert', [detectron2_to_mmdet, mmdet_to_detectron2])
def test_target__is_not_the_name_of_the_config(tmp_path, convert):
    """The config would be written over the weights."""
    file, _, _ = _released(tmp_path)
    with pytest.raises(ValueError, match=r'x\.py is the name of a config'):
        convert(file, tmp_path / 'x.py')
    assert not (tmp_path / 'x.py').exists()


# --------------------------------------------------- the released reference
@pytest.mark.skipif(not REFERENCE.is_dir(), reason='no S4M_REFERENCE')
@pytest.mark.parametrize('name', ['student', 'teacher'])
def test_reference__same_outputs(name):
    want = np.load(REFERENCE / 'expected.npz')
    file = REFERENCE / 'checkpoint.pth'
    checkpoint, cfg = convert_to_mmdet(file, model=name)
    cfg.test_cfg.max_per_image = 20
    net = revert_sync_batchnorm(MODELS.build(cfg)).eval()
    net.load_state_dict(checkpoint['state_dict'])
    meta = dict(img_shape=(96, 160), ori_shape=(192, 320))
    image = torch.from_numpy(want['image_rgb']).flip(0)  # read as BGR
    data = net.data_preprocessor(
        dict(inputs=[image], data_samples=[DetDataSample(metainfo=meta)])
    )
    cls, masks = _predict(net, data['inputs'])
    for found, key in ((cls, 'pred_logits'), (masks, 'pred_masks')):
        torch.testing.assert_close(
            found[0],
            torch.from_numpy(want[f'{name}_{key}']),
            atol=1e-5,
            rtol=1e-5,
        )
    with torch.no_grad():
        (out,) = net.predict(data['inputs'], data['data_samples'])
    pred = out.pred_instances
    order = pred.scores.argsort(descending=True, stable=True)
    theirs = np.argsort(-want[f'{name}_scores'], kind='stable')
    np.testing.assert_allclose(
        pred.scores[order], want[f'{name}_scores'][theirs], atol=1e-5
    )
    classes = want[f'{name}_classes'][theirs]
    np.testing.assert_array_equal(pred.labels[order], classes)
    shape = tuple(want[f'{name}_masks_shape'])
    bits = np.unpackbits(want[f'{name}_masks'])[: np.prod(shape)]
    np.testing.assert_array_equal(
        pred.masks[order], bits.reshape(shape)[theirs].astype(bool)
    )


@pytest.mark.skipif(not REFERENCE.is_dir(), reason='no S4M_REFERENCE')
@pytest.mark.parametrize('kind', ['r50', 'swin_tiny'])
def test_reference__full_size_keys(tmp_path, kind):
    """Nothing is left over on either side."""
    text = (REFERENCE / f'keys_{kind}_cityscapes.txt').read_text()
    state = {
        name: torch.zeros(json.loads(shape))
        for name, shape in re.findall(r'^(\S+) (\[[\d, ]*\])$', text, re.M)
    }
    assert len(state) > 400
    for name in keys.DROPPED:
        state.pop(name, None)
    checkpoint, _ = convert_to_mmdet(_save(tmp_path / 'x.pth', state))
    assert checkpoint['meta']['detectron2']['filled'] == {'model': []}
    back = keys.to_detectron2(checkpoint['state_dict'])
    assert back.keys() == state.keys()
