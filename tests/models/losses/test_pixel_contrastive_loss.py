# SPDX-License-Identifier: Apache-2.0
"""L_pxl against loops in float64 and exact probabilities."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from s4m.models.losses import (
    FeatureGrid,
    PixelContrastiveLoss,
    PixelDescriptors,
    draw_negatives,
    negative_weights,
    pixel_contrastive_loss,
    pixel_descriptors,
)
from s4m.models.losses.negatives import descriptor
from scipy import stats


def _inputs(batch=2, channels=6, grid=(3, 4), queries=5, classes=3):
    return (
        torch.randn(batch, channels, *grid),
        torch.randn(batch, channels, *grid),
        3 * torch.randn(batch, queries, 12, 16),
        3 * torch.randn(batch, queries, classes + 1),
    )


def _loss(**kwargs):
    kwargs = dict(hidden_channels=8, out_channels=4, loss_weight=1.0) | kwargs
    return PixelContrastiveLoss(6, **kwargs)


# ------------------------------------------------------------- descriptors
def test_descriptors__float64_loop():
    _, _, masks, logits = _inputs()
    grid = FeatureGrid.covering((12, 16), (12, 16))
    found = pixel_descriptors(masks, logits, grid, mask_temperature=0.5)
    masks, logits = masks.double(), logits.double()
    for b, p in itertools.product(range(2), range(12 * 16)):
        values = [m / 0.5 for m in masks[b].flatten(1)[:, p].tolist()]
        top = max(values)
        share = [math.exp(v - top) for v in values]
        share = [v / sum(share) for v in share]
        probs = [F.softmax(row, 0).tolist() for row in logits[b]]
        fused = [
            sum(share[k] * probs[k][c] for k in range(5)) for c in range(4)
        ]
        assert found.queries[b, p].tolist() == pytest.approx(share, abs=1e-6)
        assert found.classes[b, p].tolist() == pytest.approx(fused, abs=1e-6)
        strongest = max(range(5), key=share.__getitem__)
        nothing = max(range(4), key=fused.__getitem__) == 3
        assert found.instances[b, p] == (5 if nothing else strongest)


def test_grid__of_equal_cells_is_a_bilinear_resize():
    masks = torch.randn(2, 3, 12, 20)
    for size in ((3, 4), (5, 7), (12, 20), (24, 30)):
        found = FeatureGrid.covering(size, (96, 40)).sample(masks)
        want = F.interpolate(masks, size, mode='bilinear', align_corners=False)
        torch.testing.assert_close(found, want, atol=1e-5, rtol=0)


def test_grid__centres_anywhere():
    """Maps of 4 x 6 for an image of 8 x 12: pixel y is at y / 2 - 0.5."""
    ramp = torch.arange(4.0)[:, None] + 10 * torch.arange(6.0)
    grid = FeatureGrid(
        torch.tensor([0.0, 3.0, 7.5, 11.0]), torch.tensor([1.0, 5.5]), (8, 12)
    )
    found = grid.sample(ramp[None, None])[0, 0]
    rows = torch.tensor([0.0, 1.0, 3.0, 3.0])  # the last two are clamped
    cols = torch.tensor([0.0, 2.25])
    torch.testing.assert_close(
        found, rows[:, None] + 10 * cols, atol=1e-5, rtol=0
    )


def test_loss__looks_at_the_grids_centres():
    """Two queries split at row 10 of 16; the second centre says which."""
    loss = _loss(sampling='mask', num_negatives=99)
    weak, strong = torch.randn(2, 1, 6, 3, 1).unbind(0)
    masks = torch.full((1, 2, 16, 1), -9.0)
    masks[0, 0, :10] = masks[0, 1, 10:] = 9
    logits = torch.zeros(1, 2, 3)
    counts = []
    for second in (9.0, 11.0):
        grid = FeatureGrid(
            torch.tensor([2.0, second, 14.0]), torch.tensor([0.5]), (16, 1)
        )
        descriptors = pixel_descriptors(masks, logits, grid)
        counts.append(descriptors.queries[0].argmax(1).tolist())
        loss(weak, strong, masks, logits, grid=grid)
    assert counts == [[0, 0, 1], [0, 1, 1]]


def test_projector__as_in_the_authors_code():
    """Three layers of 128 without biases."""
    loss = PixelContrastiveLoss(384)
    shapes = [tuple(p.shape) for p in loss.projector.parameters()]
    assert shapes == [(128, 384), (128, 128), (128, 128)]


# ----------------------------------------------------------------- weights
def _weights_oracle(descriptors, sampling):
    """(M, M) by a loop over pairs, in float64."""

    def unit(values):
        norm = math.sqrt(sum(v * v for v in values))
        return [v / norm for v in values]

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    q = descriptors.queries.double().tolist()
    f = descriptors.classes.double().tolist()
    pixels = [(b, p) for b in range(len(q)) for p in range(len(q[0]))]
    out = torch.zeros(len(pixels), len(pixels), dtype=torch.float64)
    for i, (b, p) in enumerate(pixels):
        for j, (c, r) in enumerate(pixels):
            if i == j:
                continue
            if sampling == 'uniform' or (sampling == 'mask' and b != c):
                out[i, j] = 1
                continue
            if sampling == 'mask':
                pair = q[b][p], q[c][r]
            elif sampling == 'class' or b != c:
                pair = f[b][p], f[c][r]
            else:
                pair = q[b][p] + f[b][p], q[c][r] + f[c][r]
            out[i, j] = max(0, 1 - dot(unit(pair[0]), unit(pair[1])))
    return out


@pytest.mark.parametrize('sampling', ['uniform', 'mask', 'class', 'fusion'])
def test_weights__float64_loop(sampling):
    _, _, masks, logits = _inputs(grid=(2, 3))
    grid = FeatureGrid.covering((2, 3), (12, 16))
    descriptors = pixel_descriptors(masks, logits, grid)
    others = F.normalize(descriptors.classes.flatten(0, 1), dim=1)
    expected = _weights_oracle(descriptors, sampling)
    for b in range(2):
        own = slice(6 * b, 6 * b + 6)
        within = descriptor(
            descriptors.queries[b], descriptors.classes[b], sampling
        )
        anchors = torch.tensor([4, 0, 5])
        found = negative_weights(anchors, own, within, others, sampling)
        torch.testing.assert_close(
            found.double(), expected[own][anchors], atol=2e-5, rtol=0
        )


# ---------------------------------------------------------------- sampling
def test_draw__first_draw_is_proportional():
    """Chi-square over 40000 draws of one negative; nothing of weight 0."""
    weights = torch.tensor([0.5, 0.0, 1.5, 2.0, 0.25, 0.75])
    index, found = draw_negatives(weights.expand(40000, -1), 1)
    assert found.all()
    counts = torch.bincount(index[:, 0], minlength=6)
    assert counts[1] == 0
    kept = weights > 0
    expected = 40000 * weights[kept] / weights.sum()
    p = stats.chisquare(counts[kept].numpy(), expected.numpy()).pvalue
    assert p > 1e-3


def test_draw__without_replacement_equals_sequential_draws():
    """All ordered triples, against the product of sequential probabilities."""
    weights = [0.5, 1.0, 0.0, 2.0, 1.5]
    draws = 60000
    index, found = draw_negatives(torch.tensor(weights).expand(draws, -1), 3)
    assert found.all()
    flat = (index[:, 0] * 25 + index[:, 1] * 5 + index[:, 2]).bincount(
        minlength=125
    )
    observed, expected = [], []
    for triple in itertools.product(range(5), repeat=3):
        left, probability = sum(weights), 1.0
        for k, item in enumerate(triple):
            repeated = item in triple[:k]
            probability *= 0 if repeated else weights[item] / left
            left -= weights[item]
        count = int(flat[triple[0] * 25 + triple[1] * 5 + triple[2]])
        if probability == 0:
            assert count == 0
        else:
            observed.append(count)
            expected.append(draws * probability)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_draw__fewer_candidates_than_asked_for():
    weights = torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    index, found = draw_negatives(weights, 3)
    assert found.sum(1).tolist() == [2, 0]
    assert set(index[0, found[0]].tolist()) == {1, 3}


# -------------------------------------------------------------------- loss
def test_loss__float64_loop():
    """All candidates are negatives, so nothing is random."""
    weak, strong, masks, logits = _inputs()
    loss = _loss(num_negatives=24, temperature=0.3, chunk_size=5)
    found = loss(weak, strong, masks, logits)

    double = _loss().double()
    double.projector.load_state_dict(loss.projector.state_dict())
    with torch.no_grad():
        z_w, z_s = (
            F.normalize(
                double.projector(f.double().flatten(2).transpose(1, 2)), dim=2
            )
            for f in (weak, strong)
        )
    weights = _weights_oracle(
        pixel_descriptors(
            masks, logits, FeatureGrid.covering((3, 4), (12, 16))
        ),
        'fusion',
    )
    w, s = z_w.flatten(0, 1), z_s.flatten(0, 1)
    total = 0.0
    for i in range(24):
        plus = math.exp(float(w[i] @ s[i]) / 0.3)
        minus = sum(
            math.exp(float(w[i] @ w[j]) / 0.3)
            for j in range(24)
            if weights[i, j] > 1e-5
        )
        total -= math.log(plus / (plus + minus))
    assert found.item() == pytest.approx(total / 24, rel=1e-5)


def test_loss__padding_takes_no_part():
    """The valid part of a padded batch alone, every candidate a negative."""
    weak, strong, masks, logits = _inputs()
    loss = _loss(num_negatives=100)
    valid = torch.ones(2, 3, 4, dtype=torch.bool)
    valid[1, :, 2:] = False
    loss.keep_statistics = True
    a = loss(weak, strong, masks, logits, valid)
    stats_a = loss.statistics
    changed = weak.clone()
    changed[1, :, :, 2:] = 100.0
    b = loss(changed, strong, masks, logits, valid)
    assert a.item() == pytest.approx(b.item(), rel=1e-6)
    assert loss.statistics.keys() == stats_a.keys()
    for name, value in loss.statistics.items():
        assert float(value) == pytest.approx(float(stats_a[name]), abs=1e-6)
    assert loss(changed, strong, masks, logits).item() != pytest.approx(
        a.item()
    )
    none = loss(weak, strong, masks, logits, torch.zeros_like(valid))
    assert none.item() == 0 and none.requires_grad


def test_loss__no_negative_is_zero():
    """One image whose pixels are all predicted alike."""
    loss = _loss()
    weak, strong, masks, logits = _inputs(batch=1)
    masks = torch.zeros_like(masks)
    value = loss(weak.requires_grad_(), strong, masks, logits)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(weak.grad).all()


def test_loss__anchors_per_image():
    """Every anchor is one of the full loss's, so is the mean of all draws."""
    weak, strong, masks, logits = _inputs()
    full = _loss(num_negatives=100)
    some = _loss(num_negatives=100, anchors_per_image=3)
    some.projector.load_state_dict(full.projector.state_dict())
    values = torch.stack(
        [some(weak, strong, masks, logits).detach() for _ in range(200)]
    )
    expected = full(weak, strong, masks, logits).item()
    error = values.std() / math.sqrt(200)
    assert abs(values.mean() - expected) < 4 * error
    assert values.std() > 0


def test_gradients__weak_encoder_only():
    weak, strong, masks, logits = _inputs()
    inputs = [t.requires_grad_() for t in (weak, strong, masks, logits)]
    loss = _loss()
    loss(*inputs).backward()
    assert weak.grad.abs().sum() > 0
    assert strong.grad is None and masks.grad is None and logits.grad is None
    assert all(p.grad.abs().sum() > 0 for p in loss.projector.parameters())


def test_loss__fp32_inside_autocast():
    weak, strong, masks, logits = _inputs()
    loss = _loss(num_negatives=100)
    expected = loss(weak, strong, masks, logits)
    with torch.autocast('cpu', torch.bfloat16):
        found = loss(weak, strong, masks, logits)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_temperature__linear_schedule_survives_a_checkpoint():
    weak, strong, masks, logits = _inputs()
    loss = _loss(temperature=(0.3, 0.07), schedule_iters=10)
    for step in range(4):
        expected = 0.3 + (0.07 - 0.3) * step / 10
        assert float(loss.temperature) == pytest.approx(expected)
        loss(weak, strong, masks, logits)
    resumed = _loss(temperature=(0.3, 0.07), schedule_iters=10)
    resumed.load_state_dict(loss.state_dict())
    assert float(resumed.temperature) == pytest.approx(0.3 - 0.23 * 0.4)
    resumed.eval()(weak, strong, masks, logits)
    assert float(resumed.temperature) == pytest.approx(0.3 - 0.23 * 0.4)
    for _ in range(20):
        resumed.train()(weak, strong, masks, logits)
    assert float(resumed.temperature) == pytest.approx(0.07)
    assert 'iteration' not in _loss().state_dict()


@pytest.mark.parametrize(
    ('kwargs', 'word'),
    [
        (dict(sampling='best'), 'fusion'),
        (dict(num_negatives=0), 'num_negatives'),
        (dict(chunk_size=0), 'chunk_size'),
        (dict(temperature=0.0), 'temperature'),
        (dict(temperature=(0.3, 0.07)), 'schedule_iters'),
        (dict(schedule_iters=10), 'schedule_iters'),
        (dict(anchors_per_image=0), 'anchors_per_image'),
    ],
)
def test_arguments__out_of_range(kwargs, word):
    with pytest.raises(ValueError, match=word):
        _loss(**kwargs)


# -------------------------------------------------------------- statistics
def test_statistics__hand_computed():
    """Four pixels of two predicted instances; every other is a negative."""
    loss = PixelContrastiveLoss(
        2, sampling='uniform', num_negatives=10, loss_weight=1.0
    )
    loss.projector = torch.nn.Identity()
    loss.keep_statistics = True
    weak = torch.tensor([[1.0, 1.0, 0.0, -1.0], [0.0, 0.0, 1.0, 0.0]])
    strong = torch.tensor([[1.0, 0.0, 0.0, -1.0], [0.0, 1.0, 1.0, 0.0]])
    masks = torch.tensor([[9.0, 9, -9, -9], [-9, -9, 9, 9]]).view(1, 2, 1, 4)
    logits = torch.tensor([[[9.0, -9], [9, -9]]])
    gt_ids = torch.tensor([1, 0, 0, -1]).view(1, 1, 4)
    loss(
        weak.view(1, 2, 1, 4),
        strong.view(1, 2, 1, 4),
        masks,
        logits,
        gt_ids=gt_ids,
    )
    found = {k: float(v) for k, v in loss.statistics.items()}
    # Positives 1, 0, 1, 1; negatives of each: 1 0 -1 | 1 0 -1 | 0 0 0 |
    # -1 -1 0.
    assert found['margin'] == pytest.approx(3 / 4 - (-2 / 12))
    # Each pixel has one of its own instance among three negatives.
    assert found['fnr_pred'] == pytest.approx(4 / 12)
    # Anchors 1, 0, 0 are known; the two zeros see each other.
    assert found['fnr_gt'] == pytest.approx(2 / 9)


def test_statistics__other_images_are_no_false_negatives():
    """Of two equal images, only pixels of the anchor's image can be its own.

    Every pixel of both is a negative: 23 of each of 24 anchors.
    """
    _, _, masks, logits = _inputs()
    weak = strong = torch.randn(2, 6, 3, 4)
    masks, logits = (x[:1].expand(2, *x.shape[1:]) for x in (masks, logits))
    loss = _loss(sampling='uniform', num_negatives=99)
    loss.keep_statistics = True
    loss(weak, strong, masks, logits)
    grid = FeatureGrid.covering((3, 4), (12, 16))
    ids = pixel_descriptors(masks, logits, grid).instances[0].tolist()
    same = sum(
        ids[i] == ids[j] for i in range(12) for j in range(12) if i != j
    )
    want = 2 * same / (24 * 23)
    assert 0 < want < 1
    assert float(loss.statistics['fnr_pred']) == pytest.approx(want)
    assert 'fnr_gt' not in loss.statistics


# --------------------------------------------------------- Proposition 3.1
def _margin_growth(p: float, lam: float, steps: int = 60) -> float:
    """Growth of the margin on true inter-instance pairs by one small step.

    Two instances of 16 pixels; a drawn negative is of the other instance with
    probability p. The mean of many draws stands for the expectation.
    """
    generator = torch.Generator().manual_seed(0)
    num, dim = 32, 16
    # Remark 8.1: <z+, z-> is near zero in high dimensions.
    z = torch.randn(num, dim, generator=generator)
    strong = z + 0.5 * torch.randn(num, dim, generator=generator)
    instance = torch.arange(num) // 16
    same = instance[:, None] == instance[None]
    weights = torch.where(same, (1 - p) / 15, p / 16).fill_diagonal_(0)

    def margin(z):
        w, s = F.normalize(z, dim=1), F.normalize(strong, dim=1)
        return (w * s).sum(1).mean() - (w @ w.T)[~same].mean()

    growth = 0.0
    for _ in range(steps):
        loss = PixelContrastiveLoss(
            dim, num_negatives=1, temperature=0.2, loss_weight=lam
        )
        loss.projector = torch.nn.Identity()
        planted = z.T.reshape(1, dim, 1, num).clone().requires_grad_()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                pixel_contrastive_loss,
                'negative_weights',
                lambda anchors, *args: weights[anchors],
            )
            value = loss(
                planted,
                strong.T.reshape(1, dim, 1, num),
                torch.zeros(1, 2, 1, num),
                torch.zeros(1, 2, 3),
            )
        value.backward()
        after = (planted - 0.5 * planted.grad).detach()[0, :, 0].T
        growth += float(margin(after) - margin(z)) / steps
    return growth


def test_proposition__margin_grows_with_p_and_lambda():
    torch.manual_seed(0)
    small = _margin_growth(0.55, 0.1)
    large = _margin_growth(0.95, 0.1)
    assert 0 < small < large
    doubled = _margin_growth(0.95, 0.2)
    assert doubled == pytest.approx(2 * large, rel=0.2)


# ------------------------------------------------------------------ memory
def test_memory__grows_with_the_chunk_not_with_the_square():
    """4 images at stride 14 of 512 x 1024: 10952 pixels, below 2 GB.

    A square of all anchors' similarities in fp32 would be 251 MiB.
    """
    from s4m.utils.timing import added_memory_mib

    grid = (37, 74)
    weak, strong = torch.randn(2, 4, 32, *grid).unbind(0)
    masks, logits = torch.randn(4, 20, *grid), torch.randn(4, 20, 9)
    loss = PixelContrastiveLoss(32, anchors_per_image=1500, chunk_size=256)
    weak.requires_grad_()
    mib = added_memory_mib(
        lambda: loss(weak, strong, masks, logits).backward()
    )
    assert mib < 200


def test_descriptors__instances_of_no_object():
    classes = torch.tensor([[[0.2, 0.8], [0.9, 0.1]]])
    queries = torch.tensor([[[0.9, 0.1], [0.3, 0.7]]])
    found = PixelDescriptors(queries, classes).instances
    assert found.tolist() == [[2, 1]]
