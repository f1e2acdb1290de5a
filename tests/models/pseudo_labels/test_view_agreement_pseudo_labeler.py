# SPDX-License-Identifier: Apache-2.0
"""Agreement with the mirrored view, for both labellers."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from s4m.models import ViewAgreementPseudoLabeler
from torch import nn

SIZE = (16, 32)
LABELERS = {
    'query': dict(type='QueryPseudoLabeler', cls_thr=0.5, size_thr=0),
    'prediction': dict(
        type='PredictionPseudoLabeler', score_thr=0.5, size_thr=0
    ),
}


class _Teacher(nn.Module):
    """Finds the columns of each colour: channel = class, pixel = score.

    Each entry of ``blind`` is a (call, class) that it does not find.
    """

    def __init__(self, blind=()) -> None:
        super().__init__()
        self.blind, self.views, self.scale = (
            blind,
            [],
            nn.Parameter(torch.ones(1)),
        )

    def _found(self, view):
        call = len(self.views)
        hidden = [c for n, c in self.blind if n == call]
        scores = view.amax((2, 3)) * self.scale
        scores[:, hidden] = 0
        return (view > 0), scores

    def forward(self, view, samples, mode):
        assert mode == 'tensor'
        masks, scores = self._found(view)
        self.views.append(view)
        prob = torch.zeros(*scores.shape, 4)
        for c in range(3):
            prob[:, c, c] = scores[:, c]
            prob[:, c, 3] = 1 - scores[:, c]
        logits = (masks[..., ::4, ::4].float() * 8 - 4) * self.scale
        return [prob.clamp(min=1e-6).log()], [logits]

    def predict(self, view, samples, rescale):
        masks, scores = self._found(view)
        self.views.append(view)
        for i, sample in enumerate(samples):
            height, width = sample.ori_shape
            sample.pred_instances = InstanceData(
                labels=torch.arange(3),
                scores=scores[i],
                masks=masks[i, :, :height, :width],
            )
        return samples


def _views() -> tuple[torch.Tensor, list[DetDataSample]]:
    """Two images, the second 24 of 32 columns wide; three objects each."""
    view = torch.zeros(2, 3, *SIZE)
    for channel, (first, end) in enumerate([(0, 8), (8, 12), (16, 24)]):
        view[:, channel, :, first:end] = 0.9
    samples = [
        DetDataSample(
            metainfo=dict(img_shape=(16, width), batch_input_shape=SIZE)
        )
        for width in (32, 24)
    ]
    return view, samples


def _label(kind: str, teacher: nn.Module, **options) -> list[InstanceData]:
    labeler = MODELS.build(
        dict(
            type='ViewAgreementPseudoLabeler',
            labeler=LABELERS[kind],
            **options,
        )
    )
    view, samples = _views()
    return labeler(labeler.run_teacher(teacher, view, samples), samples)


@pytest.mark.parametrize('kind', LABELERS)
def test_agreement__of_all(kind):
    """Masks of the mirrored image fit when they are flipped back."""
    teacher = _Teacher()
    out = _label(kind, teacher, iou_thr=1.0)
    assert [item.labels.tolist() for item in out] == [[0, 1, 2]] * 2
    assert not any(item.mask_logits.requires_grad for item in out)
    # The second view was flipped without its padding.
    view, _ = _views()
    plain, mirrored = teacher.views
    assert torch.equal(plain, view)
    assert torch.equal(mirrored[0], view[0].flip(-1))
    assert torch.equal(mirrored[1, ..., :24], view[1, ..., :24].flip(-1))
    assert torch.equal(mirrored[1, ..., 24:], view[1, ..., 24:])


@pytest.mark.parametrize('kind', LABELERS)
def test_agreement__what_one_view_misses_goes(kind):
    teacher = _Teacher(blind=[(0, 0), (1, 2)])
    out = _label(kind, teacher)
    assert [item.labels.tolist() for item in out] == [[1]] * 2
    teacher = _Teacher(blind=[(1, 0), (1, 1), (1, 2)])
    assert [len(item) for item in _label(kind, teacher)] == [0, 0]
    teacher = _Teacher(blind=[(0, 0), (0, 1), (0, 2)])
    assert [len(item) for item in _label(kind, teacher)] == [0, 0]


def test_agreement__needs_class_and_iou():
    """The mirrored view gives class 0 half of its mask, swaps 1 and 2."""
    labeler = ViewAgreementPseudoLabeler(LABELERS['query'], iou_thr=0.5)
    _, samples = _views()
    masks = torch.zeros(1, 3, 4, 8, dtype=torch.bool)
    masks[0, 0, :, :4] = masks[0, 1, :2, 4:6] = masks[0, 2, 2:, 4:6] = True
    cls_logits = 9 * torch.eye(4)[None, :3]
    other = masks.flip(-1)
    other[0, 0, 2:] = False
    swapped = cls_logits[:, [0, 2, 1]]

    def run(first, second):
        outputs = (
            ([cls_logits], [first * 8.0 - 4]),
            ([second], [other * 8.0 - 4]),
        )
        return labeler(outputs, samples[:1])[0].labels.tolist()

    assert run(masks, cls_logits) == [0, 1, 2]
    assert run(masks, swapped) == [0]
    labeler.iou_thr = 0.51
    assert run(masks, cls_logits) == [1, 2]


def test_thresholds__are_the_labelers():
    labeler = ViewAgreementPseudoLabeler(LABELERS['query'])
    labeler.set_thresholds(torch.tensor([0.1, 0.2, 0.3]))
    assert labeler.labeler.thresholds is labeler.thresholds
    assert labeler.thresholds.tolist() == pytest.approx([0.1, 0.2, 0.3])
    for value in (None, 1.5, '1'):
        with pytest.raises(ValueError, match='iou_thr must be'):
            ViewAgreementPseudoLabeler(LABELERS['query'], iou_thr=value)
