# SPDX-License-Identifier: Apache-2.0
"""SemiInstanceSegmentor: order, weights, checkpoints."""

from __future__ import annotations

import os
import time

import pytest
import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from s4m.models.detectors import (
    find_checkpoint,
    load_detector,
    valid_sizes,
)


@pytest.fixture
def model(shapes_config):
    cfg = shapes_config('guided_distillation_shapes_5p').model
    cfg.teacher_checkpoint = None
    cfg.semi_train_cfg.unsup_weight = 2.0
    model = MODELS.build(cfg)
    model.hook_ready('BurnInMeanTeacherHook')
    return model.train()


def _branch(num: int) -> tuple[torch.Tensor, list[DetDataSample]]:
    samples = []
    for i in range(num):
        sample = DetDataSample(
            metainfo=dict(img_shape=(64, 64), batch_input_shape=(64, 64))
        )
        masks = torch.zeros(1, 64, 64, dtype=torch.bool)
        masks[0, 8:40, 10 : 30 + i] = True
        sample.gt_instances = InstanceData(
            labels=torch.tensor([i]), masks=masks
        )
        samples.append(sample)
    return torch.rand(num, 3, 64, 64) * 255, samples


def _batch() -> tuple[dict, dict]:
    branches = {
        b: _branch(2) for b in ('sup', 'unsup_teacher', 'unsup_student')
    }
    return (
        {b: v[0] for b, v in branches.items()},
        {b: v[1] for b, v in branches.items()},
    )


class _Order(torch.nn.Module):
    """Stands for a part, and writes down when it runs and what it gets."""

    def __init__(self, name: str, log: list, result) -> None:
        super().__init__()
        self.name, self.log, self.result = name, log, result

    def forward(self, *args):
        self.log.append((self.name, args))
        return self.result(*args)


def test_loss__order_of_one_iteration(model):
    """Refine the teacher's view, paste on the clean one, augment last."""
    inputs, samples = _batch()
    log: list = []
    pseudo = [
        InstanceData(
            labels=torch.tensor([3]),
            masks=torch.ones(1, 16, 16, dtype=torch.bool),
        )
        for _ in range(2)
    ]
    full = [
        InstanceData(
            labels=torch.tensor([5]),
            masks=torch.ones(1, 64, 64, dtype=torch.bool),
            pasted=torch.tensor([True]),
        )
        for _ in range(2)
    ]
    labeler = _Order('label', log, lambda *_: pseudo)
    labeler.run_teacher = lambda teacher, x, data: x
    model.pseudo_labeler = labeler
    model.refiner = _Order('refine', log, lambda rgb, items: items)
    model.copy_paste = _Order('paste', log, lambda rgb, items: (rgb + 1, full))
    model.strong_augment = _Order('augment', log, lambda rgb, sizes: rgb * 0.5)
    got = {}
    loss = model.student.loss

    def student_loss(x, data):
        got[len(got)] = x, [s.gt_instances for s in data]
        return loss(x, data)

    model.student.loss = student_loss
    losses = model.loss(inputs, samples)
    assert [name for name, _ in log] == ['label', 'refine', 'paste', 'augment']
    assert torch.equal(log[1][1][0], inputs['unsup_teacher'])
    assert torch.equal(log[2][1][0], inputs['unsup_student'])
    assert torch.equal(log[3][1][0], inputs['unsup_student'] + 1)
    assert log[3][1][1] == [(64, 64), (64, 64)]
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    want = ((inputs['unsup_student'] + 1) * 0.5 - mean) / std
    torch.testing.assert_close(got[1][0], want)
    torch.testing.assert_close(got[0][0], (inputs['sup'] - mean) / std)
    # Supervised at the size of the mask logits, with the pasted labels.
    for item in got[1][1]:
        assert item.masks.shape == (1, 16, 16)
        assert item.labels.tolist() == [5]
    assert losses['num_pseudo'] == 1 and losses['num_pasted'] == 1


def test_augment__sees_the_images_without_padding(model):
    """Small images in a padded batch, no copy-paste."""
    inputs, samples = _batch()
    shapes = [(40, 64), (64, 30)]
    for sample, shape in zip(samples['unsup_student'], shapes, strict=True):
        sample.set_metainfo(dict(img_shape=shape))
    log: list = []
    model.strong_augment = _Order('augment', log, lambda rgb, sizes: rgb)
    model.loss(inputs, samples)
    assert log[0][1][1] == shapes


def test_valid_sizes__reach_to_what_was_pasted():
    """An instance in the padding is part of the image."""
    samples = [
        DetDataSample(metainfo=dict(img_shape=shape))
        for shape in ((10, 12), (10, 12), (16, 16), (10, 12))
    ]
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, 15, 15] = True  # the image's own: padding has no objects
    masks[1, 12:14, 3:5] = True
    items = [
        InstanceData(masks=masks, pasted=torch.tensor([False, True])),
        InstanceData(masks=masks[:0], pasted=torch.zeros(0, dtype=torch.bool)),
        InstanceData(masks=masks, pasted=torch.tensor([False, True])),
        InstanceData(masks=masks),  # no copy-paste
    ]
    assert valid_sizes(samples, items, (16, 16)) == [
        (14, 12),
        (10, 12),
        (16, 16),
        (10, 12),
    ]


def test_loss__weights(model):
    """L_sup + 2 * L_unsup, and nothing unlabelled at weight 0."""
    inputs, samples = _batch()
    calls = []
    model.student.loss = lambda x, data: (
        calls.append(x) or dict(loss_cls=torch.tensor(3.0))
    )
    losses = model.loss(inputs, samples)
    assert losses['sup_loss_cls'] == 3 and losses['unsup_loss_cls'] == 6
    total, _ = model.parse_losses(losses)
    assert total == 9  # num_pseudo is logged, not summed
    model.unsup_weight = 0.0
    assert set(model.loss(inputs, samples)) == {'sup_loss_cls'}
    assert len(calls) == 3


def test_teacher__never_trains(model):
    for mode in (True, False, True):
        model.train(mode)
        assert not any(m.training for m in model.teacher.modules())
        assert model.student.training == mode
    assert not any(p.requires_grad for p in model.teacher.parameters())
    assert all(p.requires_grad for p in model.student.parameters())


def test_teacher__builds_no_graph(model):
    inputs, samples = _batch()
    model.pseudo_labeler.cls_thr = 0.0
    out = model.get_pseudo_instances(
        inputs['unsup_teacher'], samples['unsup_teacher']
    )
    assert not any(i.mask_logits.requires_grad for i in out)


def test_predict__on_the_student_by_default(model):
    model.eval()
    inputs, samples = _batch()
    for sample in samples['sup']:
        sample.set_metainfo(dict(ori_shape=(64, 64)))
    x = model.data_preprocessor.normalize(inputs['sup'])
    with torch.no_grad():
        got = model(x, samples['sup'], mode='predict')
        scores = [s.pred_instances.scores.clone() for s in got]
        want = model.student(x, samples['sup'], mode='predict')
    for a, b in zip(scores, want, strict=True):
        assert torch.equal(a, b.pred_instances.scores)


class TestCheckpoint:
    """The teacher's weights: found, loaded strictly, or a clear error."""

    @pytest.fixture
    def saved(self, model, tmp_path):
        path = tmp_path / 'iter_5.pth'
        torch.save({'state_dict': model.student.state_dict()}, path)
        return path

    def test_load__plain(self, model, saved):
        load_detector(model.teacher, str(saved))
        for k, v in model.student.state_dict().items():
            assert torch.equal(model.teacher.state_dict()[k], v)

    def test_load__semi_supervised_takes_the_student(self, model, tmp_path):
        torch.save({'state_dict': model.state_dict()}, tmp_path / 'x.pth')
        load_detector(model.teacher, str(tmp_path / 'x.pth'))
        for k, v in model.student.state_dict().items():
            assert torch.equal(model.teacher.state_dict()[k], v)

    def test_find__best_then_last(self, saved):
        folder = saved.parent
        with pytest.raises(FileNotFoundError):
            find_checkpoint(str(folder))
        (folder / 'last_checkpoint').write_text(str(saved))
        assert find_checkpoint(str(folder)) == saved
        for n, name in enumerate(('best_a_iter_1.pth', 'best_a_iter_2.pth')):
            (folder / name).write_bytes(b'')
            stamp = time.time() + n
            os.utime(folder / name, (stamp, stamp))
        assert find_checkpoint(str(folder)).name == 'best_a_iter_2.pth'

    def test_missing__names_the_config(self, model, monkeypatch):
        monkeypatch.chdir(ROOT)
        with pytest.raises(
            FileNotFoundError,
            match=r'dist_train.sh configs/shapes/supervised_shapes_5p.py',
        ):
            load_detector(model.teacher, 'work_dirs/x/supervised_shapes_5p')

    def test_other_number_of_classes(self, model, saved):
        state = torch.load(saved)
        head = 'panoptic_head.cls_embed.'
        for k in ('weight', 'bias'):
            state['state_dict'][head + k] = state['state_dict'][head + k][:4]
        torch.save(state, saved)
        with pytest.raises(ValueError, match='another number of classes'):
            load_detector(model.teacher, str(saved))

    def test_other_architecture(self, model, saved):
        torch.save({'state_dict': {'backbone.x': torch.ones(1)}}, saved)
        with pytest.raises(ValueError, match='same backbone and head'):
            load_detector(model.teacher, str(saved))

    def test_truncated(self, model, saved):
        saved.write_bytes(saved.read_bytes()[:5000])
        with pytest.raises(ValueError, match='cannot be read'):
            load_detector(model.teacher, str(saved))
