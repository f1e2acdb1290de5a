# SPDX-License-Identifier: Apache-2.0
"""Options of the labellers and the refiner that remove or weight labels."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from s4m.models import (
    PredictionPseudoLabeler,
    PseudoLabelRefiner,
    QueryPseudoLabeler,
)
from s4m.models.promptable import PromptableSegmenter
from s4m.models.promptable.promptable_segmenter import SegmenterEmbeddings


def _masks(*columns: tuple[int, int], size=(8, 16)) -> torch.Tensor:
    masks = torch.zeros(len(columns), *size, dtype=torch.bool)
    for mask, (first, end) in zip(masks, columns, strict=True):
        mask[:, first:end] = True
    return masks


def _queries(labels, scores, masks, num_classes=3):
    """Logits of one image with these classes, probabilities and masks."""
    prob = torch.full((1, len(labels), num_classes + 1), 0.0)
    for q, (label, score) in enumerate(zip(labels, scores, strict=True)):
        prob[0, q] = (1 - score) / num_classes
        prob[0, q, label] = score
    return [prob.log()], [masks[None].float() * 8 - 4]


def _predictions(labels, scores, masks):
    sample = DetDataSample(metainfo=dict(batch_input_shape=masks.shape[-2:]))
    sample.pred_instances = InstanceData(
        labels=torch.tensor(labels), scores=torch.tensor(scores), masks=masks
    )
    return [sample]


@pytest.mark.parametrize('kind', ['query', 'prediction'])
def test_nms__keeps_the_better_label_of_an_object(kind):
    # The second has another class but the same object as the first (IoU
    # 0.8), the third is beside, the last is not confident.
    labels, scores = [0, 1, 0, 2], [0.9, 0.95, 0.8, 0.3]
    masks = _masks((0, 8), (0, 10), (10, 16), (0, 16))
    if kind == 'query':
        out = _queries(labels, scores, masks)
        plain = QueryPseudoLabeler()
        labeler = QueryPseudoLabeler(nms_iou_thr=0.5)
        loose = QueryPseudoLabeler(nms_iou_thr=0.8)
    else:
        out = _predictions(labels, scores, masks)
        options = dict(score_thr=0.7, size_thr=4)
        plain = PredictionPseudoLabeler(**options)
        labeler = PredictionPseudoLabeler(**options, nms_iou_thr=0.5)
        loose = PredictionPseudoLabeler(**options, nms_iou_thr=0.81)
    samples = out if kind == 'prediction' else []
    (item,) = plain(out, samples)
    assert item.labels.tolist() == [0, 1, 0]
    (item,) = labeler(out, samples)
    assert item.labels.tolist() == [1, 0]
    assert torch.equal(item.masks, masks[[1, 2]])
    assert len(item.mask_logits) == 2
    (item,) = loose(out, samples)
    assert item.labels.tolist() == [0, 1, 0]


def test_nms__no_label_left():
    labeler = QueryPseudoLabeler(nms_iou_thr=0.5, weight_by='mask_score')
    (item,) = labeler(_queries([0], [0.4], _masks((0, 8))), [])
    assert item.masks.shape == (0, 8, 16) and item.weights.shape == (0,)
    labeler = PredictionPseudoLabeler(nms_iou_thr=0.5, weight_by='score')
    out = _predictions([0], [0.4], _masks((0, 8)))
    (item,) = labeler(out, out)
    assert item.masks.shape == (0, 8, 16) and item.weights.shape == (0,)
    assert item.mask_logits.shape == (0, 2, 4)


def test_cls_thr__one_for_each_class():
    labeler = QueryPseudoLabeler(cls_thr=[0.5, 0.9, 0.7])
    masks = _masks((0, 4), (4, 8), (8, 12), (12, 16), (0, 16))
    out = _queries([0, 1, 1, 2, 3], [0.6, 0.8, 0.95, 0.6, 0.99], masks)
    (item,) = labeler(out, [])
    # The last is "no object", which has no threshold and no label.
    assert item.labels.tolist() == [0, 1]
    assert item.scores.tolist() == pytest.approx([0.6, 0.95])
    labeler.set_thresholds(torch.tensor([0.99, 0.7, 0.5]))
    (item,) = labeler(out, [])
    assert item.labels.tolist() == [1, 1, 2]
    # Thresholds are no weights of the model.
    assert not labeler.state_dict()
    message = 'cls_thr has 2 values, but the teacher has 3 classes'
    with pytest.raises(ValueError, match=message):
        QueryPseudoLabeler(cls_thr=[0.5, 0.9])(out, [])


def test_weights__are_scores_or_mask2formers_scores():
    masks = _masks((0, 8), (10, 16))
    cls_logits, mask_logits = _queries([0, 1], [0.9, 0.8], masks)
    mask_logits[0][0, 1, :4] *= 0.25  # the upper half of the second is vague
    out = cls_logits, mask_logits
    assert 'weights' not in QueryPseudoLabeler()(out, [])[0]
    (item,) = QueryPseudoLabeler(weight_by='score')(out, [])
    assert item.weights.tolist() == pytest.approx([0.9, 0.8])
    (item,) = QueryPseudoLabeler(weight_by='mask_score')(out, [])
    sure, vague = (1 / (1 + torch.e**-v) for v in (4, 1))
    want = [0.9 * sure, 0.8 * (sure + vague) / 2]
    assert item.weights.tolist() == pytest.approx(want)


def test_weights__rise_over_a_range_of_scores():
    scores = [0.3, 0.4, 0.5, 0.55, 0.9]
    columns = [(0, 4), (4, 8), (8, 12), (12, 16), (2, 6)]
    out = _predictions([0, 1, 0, 1, 0], scores, _masks(*columns))
    options = dict(score_thr=0.35, size_thr=4, weight_by='score')
    labeler = PredictionPseudoLabeler(**options, weight_range=(0.4, 0.6))
    (item,) = labeler(out, out)
    assert item.scores.tolist() == pytest.approx(scores[1:])
    assert item.weights.tolist() == pytest.approx([0, 0.5, 0.75, 1], abs=1e-6)
    (item,) = PredictionPseudoLabeler(**options)(out, out)
    assert torch.equal(item.weights, item.scores)


@pytest.mark.parametrize(
    ('type_', 'options', 'message'),
    [
        ('QueryPseudoLabeler', dict(cls_thr=[]), r'cls_thr .*\[\]'),
        ('QueryPseudoLabeler', dict(cls_thr=[0.5, 2]), r'cls_thr .*0\.5, 2'),
        ('QueryPseudoLabeler', dict(nms_iou_thr=2), 'nms_iou_thr .*got 2'),
        ('QueryPseudoLabeler', dict(weight_by='iou'), "weight_by .*got 'iou'"),
        ('PredictionPseudoLabeler', dict(nms_iou_thr=-1), 'nms_iou_thr'),
        # There are no soft masks to score.
        ('PredictionPseudoLabeler', dict(weight_by='mask_score'), 'weight_by'),
        (
            'PredictionPseudoLabeler',
            dict(weight_by='score', weight_range=(0.5, 0.4)),
            r'weight_range .*\(0\.5, 0\.4\)',
        ),
        (
            'PredictionPseudoLabeler',
            dict(weight_range=(0.3, 0.4)),
            'weight_range.* no effect',
        ),
        ('PseudoLabelRefiner', dict(min_refine_iou=1.1), 'min_refine_iou'),
        ('PseudoLabelRefiner', dict(min_refine_iou=None), 'min_refine_iou'),
        ('PseudoLabelRefiner', dict(nms_iou_thr='0.5'), 'nms_iou_thr'),
    ],
)
def test_options__bad_value(type_, options, message):
    if type_ == 'PseudoLabelRefiner':
        options['segmenter'] = dict()
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type=type_, **options))


class _Halves(PromptableSegmenter):
    """Sees the half of the image in which the first point lies."""

    def encode(self, rgb):
        return SegmenterEmbeddings(
            rgb[:, :1, ::16, ::16], [], tuple(rgb.shape[-2:])
        )

    def decode(
        self, embeddings, image_ids, points=None, boxes=None, multimask=True
    ):
        left = points[:, 0, 0] < embeddings.image_size[1] / 2
        logits = torch.ones(len(points), 1, 8, 16)
        logits[..., 8:] = -1
        logits[~left] *= -1
        return logits, torch.full((len(points), 1), 0.6)


def _refine(columns, scores, rgb_size=(32, 64), **options) -> InstanceData:
    masks = _masks(*columns)
    refiner = PseudoLabelRefiner(dict(), point_sampling='in_mask', **options)
    refiner.set_segmenter(_Halves())
    item = InstanceData(
        labels=torch.arange(len(columns)),
        scores=torch.tensor(scores),
        mask_logits=masks.float() * 8 - 4,
        masks=masks,
    )
    none = InstanceData(
        labels=torch.zeros(0, dtype=torch.long),
        scores=torch.zeros(0),
        mask_logits=torch.zeros(0, 8, 16),
        masks=torch.zeros(0, 8, 16, dtype=torch.bool),
    )
    out, empty = refiner(torch.zeros(2, 3, *rgb_size), [item, none])
    assert len(empty) == 0 and empty.masks.shape == (0, *rgb_size)
    return out


def test_refiner__one_label_for_each_refined_mask():
    """The teacher's first two masks do not overlap, the refined ones do."""
    columns, scores = [(0, 4), (4, 8), (8, 16)], [0.8, 0.9, 0.7]
    assert len(_refine(columns, scores)) == 3
    out = _refine(columns, scores, nms_iou_thr=0.5)
    assert out.labels.tolist() == [1, 2]
    assert out.masks.sum((1, 2)).tolist() == [32 * 32, 32 * 32]


def test_refiner__agreement_of_teacher_and_segmenter():
    """IoUs 1, 1/2 and 1/4; an empty mask has no point and no IoU."""
    columns = [(0, 8), (8, 12), (2, 4), (5, 5)]
    scores = [0.8, 0.9, 0.95, 0.99]
    out = _refine(columns, scores)
    assert out.refine_iou.tolist() == [1, 0.5, 0.25, 0]
    assert _refine(columns, scores, min_refine_iou=0.5).labels.tolist() == [
        0,
        1,
    ]
    assert _refine(columns, scores, min_refine_iou=0.51).labels.tolist() == [0]
    # The third, which goes, does not suppress the first.
    out = _refine(columns, scores, min_refine_iou=0.5, nms_iou_thr=0.5)
    assert out.labels.tolist() == [0, 1]


def test_refiner__weights_by_agreement():
    columns, scores = [(0, 8), (8, 12)], [0.8, 0.9]
    assert 'weights' not in _refine(columns, scores)
    out = _refine(columns, scores, weight_by_iou=True)
    assert out.weights.tolist() == [1, 0.5]


def test_refiner__multiplies_the_labelers_weights():
    masks = _masks((0, 8), (8, 12))
    refiner = PseudoLabelRefiner(
        dict(), point_sampling='in_mask', weight_by_iou=True
    )
    refiner.set_segmenter(_Halves())
    item = InstanceData(
        labels=torch.arange(2),
        scores=torch.ones(2),
        weights=torch.tensor([0.5, 0.8]),
        mask_logits=masks.float() * 8 - 4,
        masks=masks,
    )
    (out,) = refiner(torch.zeros(1, 3, 32, 64), [item])
    assert out.weights.tolist() == pytest.approx([0.5, 0.4])
    assert item.weights.tolist() == pytest.approx([0.5, 0.8])
