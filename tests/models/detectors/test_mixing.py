# SPDX-License-Identifier: Apache-2.0
"""Semi-supervised training around MMDet's other instance segmenters."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from nano import DETECTORS, nano
from s4m.models import PredictionPseudoLabeler
from s4m.structures.pseudo_instances import detector_targets

SIZE = (64, 96)
SEGMENTER = dict(
    type='SAM2Segmenter', config='nano_sam2', checkpoint='nano_sam2'
)


def _sample(masks: torch.Tensor, labels, shape=SIZE) -> DetDataSample:
    sample = DetDataSample(
        metainfo=dict(
            img_shape=shape,
            # What a crop leaves behind: of no use here.
            ori_shape=(500, 700),
            scale_factor=(0.37, 0.37),
            batch_input_shape=SIZE,
            pad_shape=SIZE,
        )
    )
    labels = torch.tensor(labels, dtype=torch.long)
    item = InstanceData(labels=labels, masks=masks)
    sample.gt_instances = detector_targets(item, SIZE)
    return sample


def _truth() -> torch.Tensor:
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 8:40, 10:44] = masks[1, 20:60, 50:90] = True
    return masks


def _batch(name: str) -> tuple[dict, dict]:
    torch.manual_seed(1)
    inputs, samples = {}, {}
    for branch in ('sup', 'unsup_teacher', 'unsup_student'):
        inputs[branch] = torch.rand(2, 3, *SIZE) * 255
        # The second view is padded at the right and below.
        samples[branch] = [
            _sample(_truth(), [1, 3]),
            _sample(_truth()[:0], [], (56, 80)),
        ]
    return inputs, samples


def _semi(name: str, **options) -> torch.nn.Module:
    detector = nano(name)
    preprocessor = dict(detector.data_preprocessor)
    preprocessor.update(type='SemiDataPreprocessor', pad_size_divisor=32)
    preprocessor.setdefault('mean', [123.675, 116.28, 103.53])
    preprocessor.setdefault('std', [58.395, 57.12, 57.375])
    model = MODELS.build(
        ConfigDict(
            type='SemiInstanceSegmentor',
            detector=detector,
            data_preprocessor=preprocessor,
            pseudo_labeler=dict(
                type='PredictionPseudoLabeler', score_thr=0.0, size_thr=4
            ),
            strong_augment=dict(type='StrongAugment'),
            **options,
        )
    )
    model.init_weights()
    model.unsup_weight = 2.0
    return model.train()


@pytest.mark.parametrize('name', DETECTORS)
def test_all_of_s4m__around_any_segmenter(name, nano_segmenter):
    """Pseudo-label, refine, paste, augment, own losses, gradients."""
    model = _semi(
        name,
        refiner=dict(type='PseudoLabelRefiner', segmenter=SEGMENTER),
        copy_paste=dict(type='RefinedCopyPaste', min_area=0),
    )
    model.refiner.set_segmenter(nano_segmenter)
    # Random teachers may find nothing: these labels are certain.
    found = []

    def predict(x, views, rescale):
        assert rescale and views[1].ori_shape == (56, 80)
        out = views
        # MMDet's pasting on a CPU fails at boxes outside the image, which an
        # untrained QueryInst, that does not clip them, has.
        if name != 'QueryInst':
            out = type(model.teacher).predict(model.teacher, x, views, rescale)
            for view, shape in zip(out, (SIZE, (56, 80)), strict=True):
                assert tuple(view.pred_instances.masks.shape[1:]) == shape
        found.append(out)
        out[0].pred_instances = InstanceData(
            labels=torch.tensor([1, 3]),
            scores=torch.tensor([0.9, 0.8]),
            masks=_truth(),
        )
        out[1].pred_instances = out[0].pred_instances[:0]
        out[1].pred_instances.masks = torch.zeros(0, 56, 80).bool()
        return out

    model.teacher.predict = predict
    inputs, samples = _batch(name)
    learnt = []
    student_loss = model.loss_by_pseudo_instances
    model.loss_by_pseudo_instances = lambda images, targets: (
        learnt.extend(targets) or student_loss(images, targets)
    )
    losses = model.loss(inputs, samples)
    assert len(found) == 1
    assert losses['num_pseudo'] == 1
    for prefix in ('sup_', 'unsup_'):
        assert any(k.startswith(prefix) for k in losses)
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    grads = [p.grad for p in model.student.parameters() if p.grad is not None]
    assert sum(float(g.abs().sum()) for g in grads) > 0
    assert all(p.grad is None for p in model.teacher.parameters())
    for sample in learnt:
        gt = sample.gt_instances
        assert len(gt) == len(gt.masks) == len(gt.bboxes)


@pytest.mark.parametrize('name', DETECTORS)
def test_nothing_found__trains_on(name):
    """A batch without pseudo-labels."""
    model = _semi(name)

    def predict(x, views, rescale):
        for view in views:
            view.pred_instances = InstanceData(
                labels=torch.zeros(0, dtype=torch.long),
                scores=torch.zeros(0),
                masks=torch.zeros(0, *view.ori_shape, dtype=torch.bool),
            )
        return views

    model.teacher.predict = predict
    total, _ = model.parse_losses(model.loss(*_batch(name)))
    assert torch.isfinite(total)
    total.backward()


@pytest.mark.parametrize('name', DETECTORS)
def test_distillation__any_named_map(name, nano_segmenter):
    """SD reaches the named feature map's parameters."""
    cfg = nano(name)
    source = 'neck' if 'neck' in cfg else 'panoptic_head.pixel_decoder'
    model = MODELS.build(
        ConfigDict(
            dict(cfg, type=f'Distill{name}'),
            feature_source=source,
            segmenter=SEGMENTER,
            loss_distill=dict(type='StructuralDistillationLoss'),
            points_per_image=8,
        )
    )
    model.set_segmenter(nano_segmenter)
    model.init_weights()
    inputs, samples = _batch(name)
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    losses = model.loss((inputs['sup'] - mean) / std, samples['sup'])
    losses['loss_distill'].backward()
    grads = [p.grad for p in model.get_submodule(source).parameters()]
    assert any(g is not None and g.abs().sum() > 0 for g in grads)


def test_prediction_labeler__hand_computed():
    labeler = PredictionPseudoLabeler(score_thr=[0.5, 0.8], size_thr=4)
    masks = torch.zeros(4, 6, 10, dtype=torch.bool)
    masks[0, :4, :4] = masks[1, :4, :8] = masks[2, 0, :2] = True
    masks[3, 4:6, 8:10] = masks[3, 4, 7] = True
    sample = DetDataSample(metainfo=dict(batch_input_shape=(8, 12)))
    output = DetDataSample(
        pred_instances=InstanceData(
            labels=torch.tensor([0, 1, 0, 1]),
            scores=torch.tensor([0.6, 0.7, 0.9, 0.9]),
            masks=masks,
        )
    )
    (item,) = labeler([output], [sample])
    # The second is not sure enough for its class, the third too small.
    assert item.labels.tolist() == [0, 1]
    assert item.scores.tolist() == pytest.approx([0.6, 0.9])
    assert item.masks.shape == (2, 8, 12)
    assert torch.equal(item.masks[:, :6, :10], masks[[0, 3]])
    assert not item.masks[:, 6:].any() and not item.masks[:, :, 10:].any()
    share = item.mask_logits.sigmoid()
    assert share.shape == (2, 2, 3)
    want = torch.zeros(2, 2, 3)
    want[0, 0, 0] = 1
    want[1, 1, 1], want[1, 1, 2] = 1 / 16, 4 / 16
    torch.testing.assert_close(share, want, atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    'options',
    [dict(score_thr=1.5), dict(score_thr=[]), dict(size_thr=-1)],
)
def test_prediction_labeler__bad_value(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PredictionPseudoLabeler(**options)
    labeler = PredictionPseudoLabeler(score_thr=[0.5, 0.5])
    output = DetDataSample(
        pred_instances=InstanceData(
            labels=torch.tensor([2]),
            scores=torch.ones(1),
            masks=torch.ones(1, 8, 8, dtype=torch.bool),
        )
    )
    sample = DetDataSample(metainfo=dict(batch_input_shape=(8, 8)))
    with pytest.raises(ValueError, match='there is a class 2'):
        labeler([output], [sample])
