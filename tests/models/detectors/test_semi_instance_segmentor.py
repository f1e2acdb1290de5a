# SPDX-License-Identifier: Apache-2.0
"""SemiInstanceSegmentor: order, weights, checkpoints."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from s4m.models import PseudoLabelRefiner, RefinedCopyPaste
from s4m.models.batch_augments import valid_sizes


@pytest.fixture
def model(shapes_config):
    cfg = shapes_config('guided_distillation_shapes_5p').model
    cfg.teacher_checkpoint = None
    model = MODELS.build(cfg)
    model.unsup_weight = 2.0  # as the mean-teacher hook sets it
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
            scores=torch.tensor([0.75]),
            masks=torch.ones(1, 16, 16, dtype=torch.bool),
            mask_logits=torch.ones(1, 16, 16),
        )
        for _ in range(2)
    ]
    full = [
        InstanceData(
            labels=torch.tensor([5]),
            scores=torch.tensor([0.5]),
            weights=torch.tensor([0.25]),
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
        assert item.scores.tolist() == [0.5]
        assert item.weights.tolist() == [0.25]
    # The batch itself is left as it was.
    assert samples['unsup_student'][0].gt_instances.masks.shape[1] == 64
    assert losses['num_pseudo'] == 1 and losses['num_pasted'] == 1


class TestPseudoLabel:
    """All steps of a batch, or those that its views allow."""

    @pytest.fixture
    def labels(self, model):
        """One certain pseudo-label an image, whatever the teacher says."""
        logits = torch.full((1, 16, 16), -2.0)
        logits[:, 2:10, 3:9] = 2

        def label(outputs, samples):
            return [
                InstanceData(
                    labels=torch.tensor([i]),
                    scores=torch.tensor([0.9]),
                    masks=logits > 0,
                    mask_logits=logits,
                    weights=torch.tensor([0.5 + i]),
                )
                for i, _ in enumerate(samples)
            ]

        model.pseudo_labeler.forward = label
        return label

    def test_teachers_view_only(self, model, labels, nano_segmenter):
        """What label generation asks for."""
        model.refiner = PseudoLabelRefiner(dict())
        model.refiner.set_segmenter(nano_segmenter)
        inputs, samples = _batch()
        steps = model.pseudo_label(
            {'unsup_teacher': inputs['unsup_teacher']},
            {'unsup_teacher': samples['unsup_teacher']},
        )
        assert steps.instances is steps.refined
        assert steps.refined[0].masks.shape == (1, 64, 64)
        # The teacher's own result is still there.
        assert steps.teacher[0].masks.shape == (1, 16, 16)
        assert 'refined' not in steps.teacher[0]
        for name in ('images', 'pasted_images', 'pasted', 'strong_images'):
            assert getattr(steps, name) is None

    def test_all_steps__carry_weights(self, model, labels, nano_segmenter):
        model.refiner = PseudoLabelRefiner(dict())
        model.refiner.set_segmenter(nano_segmenter)
        model.copy_paste = RefinedCopyPaste(min_area=0)
        inputs, samples = _batch()
        pixels = {k: v.clone() for k, v in inputs.items()}
        steps = model.pseudo_label(inputs, samples)
        assert steps.instances is steps.pasted
        for item in steps.pasted:
            assert 'mask_logits' not in item
            want = 0.5 + item.labels
            assert torch.equal(item.weights, want)
        assert all(torch.equal(inputs[k], v) for k, v in pixels.items())
        assert not torch.equal(steps.strong_images, steps.pasted_images)

    def test_guided_distillation__label_and_augment(self, model, labels):
        steps = model.pseudo_label(*_batch())
        assert steps.refined is None and steps.pasted is None
        assert steps.instances is steps.teacher
        assert steps.pasted_images is steps.images

    def test_broken_contract__names_field_and_image(self, model, labels):
        def broken(outputs, samples):
            items = labels(outputs, samples)
            items[1].masks = items[1].masks.float()
            return items

        model.pseudo_labeler.forward = broken
        with pytest.raises(ValueError, match=r"'masks'.*image 1.*bool"):
            model.pseudo_label(*_batch())


def test_loss__without_the_hook_says_what_to_add(model):
    model.unsup_weight = None
    with pytest.raises(ValueError, match=r'default_hooks=dict.*burn_in'):
        model.loss(*_batch())


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
    model.pseudo_labeler.set_thresholds(torch.zeros(1))
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


def test_detector__with_a_segmenter_is_refused(shapes_config):
    """It would normalise the normalised images once more."""
    cfg = shapes_config('guided_distillation_shapes_5p').model
    teacher = shapes_config('s4m_teacher_shapes_5p').model
    cfg.detector = dict(teacher, data_preprocessor=cfg.data_preprocessor)
    cfg.teacher_checkpoint = None
    with pytest.raises(ValueError, match=r'DistillMask2Former.*plain class'):
        MODELS.build(cfg)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('semi_train_cfg', dict(unsup_wieght=1), 'unsup_wieght'),
        ('semi_train_cfg', dict(unsup_weight=-1), r'>= 0, got -1'),
        ('semi_train_cfg', dict(sup_weight=float('nan')), '>= 0, got nan'),
        ('semi_train_cfg', dict(unsup_weight='x'), "got 'x'"),
        ('refiner', dict(min_refine_iou=0.5), 'model.refiner .* no type'),
    ],
)
def test_settings__that_nothing_reads(shapes_config, key, value, message):
    cfg = shapes_config('guided_distillation_shapes_5p').model
    cfg[key] = value
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg)
