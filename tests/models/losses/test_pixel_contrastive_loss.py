# SPDX-License-Identifier: Apache-2.0
"""L_pxl against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from contrastive_inputs import make_inputs, make_loss, weights_oracle
from s4m.models.losses import (
    FeatureGrid,
    PixelContrastiveLoss,
    pixel_contrastive_loss,
    pixel_descriptors,
)


# -------------------------------------------------------------------- loss
def test_loss__float64_loop():
    """All candidates are negatives, so nothing is random."""
    weak, strong, masks, logits = make_inputs()
    loss = make_loss(num_negatives=24, temperature=0.3, chunk_size=5)
    found = loss(weak, strong, masks, logits)

    double = make_loss().double()
    double.projector.load_state_dict(loss.projector.state_dict())
    with torch.no_grad():
        z_w, z_s = (
            F.normalize(
                double.projector(f.double().flatten(2).transpose(1, 2)), dim=2
            )
            for f in (weak, strong)
        )
    weights = weights_oracle(
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


def test_loss__looks_at_the_grids_centres():
    """Two queries split at row 10 of 16; the second centre says which."""
    loss = make_loss(sampling='mask', num_negatives=99)
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


def test_loss__padding_takes_no_part():
    """The valid part of a padded batch alone, every candidate a negative."""
    weak, strong, masks, logits = make_inputs()
    loss = make_loss(num_negatives=100)
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
    loss = make_loss()
    weak, strong, masks, logits = make_inputs(batch=1)
    masks = torch.zeros_like(masks)
    value = loss(weak.requires_grad_(), strong, masks, logits)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(weak.grad).all()


def test_loss__anchors_per_image():
    """Every anchor is one of the full loss's, so is the mean of all draws."""
    weak, strong, masks, logits = make_inputs()
    full = make_loss(num_negatives=100)
    some = make_loss(num_negatives=100, anchors_per_image=3)
    some.projector.load_state_dict(full.projector.state_dict())
    values = torch.stack(
        [some(weak, strong, masks, logits).detach() for _ in range(200)]
    )
    expected = full(weak, strong, masks, logits).item()
    error = values.std() / math.sqrt(200)
    assert abs(values.mean() - expected) < 4 * error
    assert values.std() > 0


def test_gradients__weak_encoder_only():
    weak, strong, masks, logits = make_inputs()
    inputs = [t.requires_grad_() for t in (weak, strong, masks, logits)]
    loss = make_loss()
    loss(*inputs).backward()
    assert weak.grad.abs().sum() > 0
    assert strong.grad is None and masks.grad is None and logits.grad is None
    assert all(p.grad.abs().sum() > 0 for p in loss.projector.parameters())


def test_loss__fp32_inside_autocast():
    weak, strong, masks, logits = make_inputs()
    loss = make_loss(num_negatives=100)
    expected = loss(weak, strong, masks, logits)
    with torch.autocast('cpu', torch.bfloat16):
        found = loss(weak, strong, masks, logits)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_temperature__linear_schedule_survives_a_checkpoint():
    weak, strong, masks, logits = make_inputs()
    loss = make_loss(temperature=(0.3, 0.07), schedule_iters=10)
    for step in range(4):
        expected = 0.3 + (0.07 - 0.3) * step / 10
        assert float(loss.temperature) == pytest.approx(expected)
        loss(weak, strong, masks, logits)
    resumed = make_loss(temperature=(0.3, 0.07), schedule_iters=10)
    resumed.load_state_dict(loss.state_dict())
    assert float(resumed.temperature) == pytest.approx(0.3 - 0.23 * 0.4)
    resumed.eval()(weak, strong, masks, logits)
    assert float(resumed.temperature) == pytest.approx(0.3 - 0.23 * 0.4)
    for _ in range(20):
        resumed.train()(weak, strong, masks, logits)
    assert float(resumed.temperature) == pytest.approx(0.07)
    assert 'iteration' not in make_loss().state_dict()


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
        make_loss(**kwargs)


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
    _, _, masks, logits = make_inputs()
    weak = strong = torch.randn(2, 6, 3, 4)
    masks, logits = (x[:1].expand(2, *x.shape[1:]) for x in (masks, logits))
    loss = make_loss(sampling='uniform', num_negatives=99)
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
