# SPDX-License-Identifier: Apache-2.0
"""Point sampling by its distribution, refinement by sam2's own predictor."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from s4m.models import PseudoLabelRefiner, SAM2Segmenter
from s4m.models.promptable import PromptableSegmenter
from s4m.models.promptable.promptable_segmenter import SegmenterEmbeddings
from s4m.models.pseudo_labels import sample_mask_points
from s4m.structures.masks import paired_iou
from scipy.stats import chisquare

SEGMENTER = dict(type='SAM2Segmenter', config='nano_sam2', checkpoint=None)


@pytest.mark.parametrize('mode', ['softmax', 'in_mask'])
def test_sampling__first_point_distribution(mode):
    logits = torch.tensor([[1.0, -0.5], [0.2, 2.0]])
    draws = 20000
    index, found = sample_mask_points(logits.expand(draws, 2, 2), 1, mode)
    assert found.all()
    flat = logits.double().flatten()
    if mode == 'softmax':
        prob = flat.exp()
    else:
        prob = flat.sigmoid() * (flat > 0)
    prob = (prob / prob.sum()).numpy()
    counts = np.bincount(index[:, 0], minlength=4)
    assert counts[prob == 0].sum() == 0
    inside = prob > 0
    result = chisquare(counts[inside], draws * prob[inside])
    assert result.pvalue > 1e-4


def test_sampling__pairs_are_sequential_draws():
    """Gumbel top-k equals drawing one after the other."""
    logits = torch.tensor([[[0.5, -1.0, 1.2]]])
    draws = 20000
    index, _ = sample_mask_points(logits.expand(draws, 1, 3), 2, 'softmax')
    weight = logits.double().exp().flatten().tolist()
    want, got = [], []
    for a, b in itertools.permutations(range(3), 2):
        first = weight[a] / sum(weight)
        want.append(draws * first * weight[b] / (sum(weight) - weight[a]))
        got.append(((index[:, 0] == a) & (index[:, 1] == b)).sum().item())
    assert chisquare(got, want).pvalue > 1e-4


def test_sampling__in_mask_with_few_pixels():
    logits = torch.full((3, 4, 4), -1.0)
    logits[0, 1, 2] = 3.0
    logits[1, 0, 0] = logits[1, 3, 3] = 1.0
    index, found = sample_mask_points(logits, 3, 'in_mask')
    assert found.tolist() == [True, True, False]
    assert index[0].tolist() == [6, 6, 6]
    assert sorted(set(index[1].tolist())) == [0, 15]


def test_sampling__points_are_distinct():
    index, _ = sample_mask_points(torch.zeros(50, 4, 4), 3, 'softmax')
    assert all(len(set(row)) == 3 for row in index.tolist())


def test_mask_iou__hand_computed():
    a = torch.tensor([[[1, 1, 0]], [[0, 0, 0]]]).bool()
    b = torch.tensor([[[0, 1, 1]], [[0, 0, 0]]]).bool()
    assert paired_iou(a, b).tolist() == pytest.approx([1 / 3, 0])


def _instances(*logits: torch.Tensor) -> list[InstanceData]:
    return [
        InstanceData(
            labels=torch.arange(len(x)),
            scores=torch.ones(len(x)),
            mask_logits=x,
            masks=x > 0,
        )
        for x in logits
    ]


def test_forward__equals_predictor(monkeypatch):
    """Same points: the best of three masks at image resolution."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    refiner = PseudoLabelRefiner(SEGMENTER, points_per_mask=3)
    segmenter = SAM2Segmenter('nano_sam2', 'nano_sam2', chunk_size=2)
    refiner.set_segmenter(segmenter)
    rgb = (torch.rand(2, 3, 64, 96) * 255).byte()
    logits = [torch.randn(3, 16, 24), torch.randn(1, 16, 24)]
    index = torch.randint(16 * 24, (4, 3))
    monkeypatch.setattr(
        's4m.models.pseudo_labels.pseudo_label_refiner.sample_mask_points',
        lambda *_: (index, torch.ones(4, dtype=torch.bool)),
    )
    out = refiner(rgb, _instances(*logits))
    predictor = SAM2ImagePredictor(segmenter.model)
    predictor._bb_feat_sizes = [(64, 64), (32, 32), (16, 16)]
    n = 0
    for i, item in enumerate(out):
        predictor.set_image(rgb[i].permute(1, 2, 0).numpy())
        for k in range(len(item)):
            points = np.array(
                [[4 * (j % 24), 4 * (j // 24)] for j in index[n].tolist()]
            )
            masks, ious, _ = predictor.predict(
                points, np.ones(3), return_logits=True
            )
            best = masks[ious.argmax()]
            clear = np.abs(best) > 1e-3
            got = item.masks[k].numpy()
            assert ((best > 0) == got)[clear].all()
            small = torch.from_numpy(got[::4, ::4].copy())
            want = paired_iou(small[None], logits[i][k : k + 1] > 0)
            assert item.refine_iou[k].item() == pytest.approx(want.item())
            n += 1
    assert n == 4
    assert out[0].labels.tolist() == [0, 1, 2]


class _Constant(PromptableSegmenter):
    """Sees the left half everywhere."""

    def encode(self, rgb):
        return SegmenterEmbeddings(
            rgb[:, :1, ::16, ::16], [], tuple(rgb.shape[-2:])
        )

    def decode(
        self, embeddings, image_ids, points=None, boxes=None, multimask=True
    ):
        logits = torch.full((len(points), 1, 8, 8), -1.0)
        logits[..., :4] = 1
        return logits, torch.full((len(points), 1), 0.6)


@pytest.mark.parametrize(
    ('sampling', 'changed'),
    [('softmax', [True, True, True]), ('in_mask', [True, True, False])],
)
def test_forward__keeps_what_cannot_be_prompted(sampling, changed):
    """The teacher's mask stays where no pixel can be a point."""
    left = torch.full((8, 8), -4.0)
    left[:, :4] = 4
    logits = torch.stack([left, -left, torch.full((8, 8), -4.0)])
    refiner = PseudoLabelRefiner(SEGMENTER, point_sampling=sampling)
    refiner.set_segmenter(_Constant())
    (out,) = refiner(torch.zeros(1, 3, 32, 32), _instances(logits))
    assert out.refined.tolist() == changed
    assert out.refine_iou.tolist() == [1, 0, 0]
    half = torch.zeros(32, 32, dtype=torch.bool)
    half[:, :16] = True
    teacher = F.interpolate(logits[None], (32, 32), mode='bilinear')[0] > 0
    for k, new in enumerate(changed):
        assert torch.equal(out.masks[k], half if new else teacher[k])


def test_forward__leaves_its_input_alone():
    logits = torch.randn(2, 8, 8)
    items = _instances(logits)
    items[0].weights = torch.tensor([0.25, 0.75])
    before = {k: v.clone() for k, v in items[0].items()}
    refiner = PseudoLabelRefiner(SEGMENTER)
    refiner.set_segmenter(_Constant())
    (out,) = refiner(torch.zeros(1, 3, 32, 32), items)
    assert out is not items[0]
    assert set(items[0].keys()) == set(before)
    assert all(torch.equal(items[0][k], v) for k, v in before.items())
    assert out.weights.tolist() == [0.25, 0.75]


def test_forward__no_pseudo_labels(nano_segmenter):
    refiner = PseudoLabelRefiner(SEGMENTER)
    refiner.set_segmenter(nano_segmenter)
    none = torch.zeros(0, 16, 32)
    out = refiner(torch.zeros(2, 3, 64, 128), _instances(none, none))
    assert [o.masks.shape for o in out] == [(0, 64, 128)] * 2


@pytest.mark.parametrize(
    'options',
    [
        dict(points_per_mask=0),
        dict(point_sampling='best'),
    ],
)
def test_init__bad_value(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PseudoLabelRefiner(SEGMENTER, **options)
