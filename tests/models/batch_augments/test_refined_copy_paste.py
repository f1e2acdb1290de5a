# SPDX-License-Identifier: Apache-2.0
"""ARP against a loop over instances and pixels, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData
from s4m.models import RefinedCopyPaste
from s4m.structures.masks import topmost

H, W = 12, 16


def _instances(masks: np.ndarray, first_label: int) -> InstanceData:
    masks = torch.from_numpy(masks).bool()
    return InstanceData(
        labels=torch.arange(len(masks)) + first_label,
        scores=torch.rand(len(masks)),
        masks=masks,
    )


@st.composite
def batches(draw):
    """Images of one colour each, with random rectangles."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    size = draw(st.integers(2, 5))
    items = []
    for b in range(size):
        masks = np.zeros((draw(st.integers(0, 4)), H, W), bool)
        for mask in masks:
            y, x = rng.integers(0, H - 1), rng.integers(0, W - 1)
            h, w = rng.integers(1, 8, 2)
            mask[y : y + h, x : x + w] = True
        items.append(_instances(masks, 100 * b))
    # Every pixel of every image is told apart by its value.
    rgb = torch.arange(size * H * W, dtype=torch.float32)
    return rgb.view(size, 1, H, W).expand(-1, 3, -1, -1).clone(), items


def _loop_paste(image, own, source_image, source, min_area):
    """Static paste, instance by instance, on numpy copies."""
    image = image.numpy().copy()
    layers = [(m.numpy().copy(), label) for m, label in _pairs(own)]
    if all(mask.sum() < min_area for mask in source.masks):
        return image, layers
    for mask, label in _pairs(source):
        if mask.sum() < min_area:
            continue
        mask = mask.numpy()
        image[:, mask] = source_image.numpy()[:, mask]
        layers.append((mask.copy(), label))
    for i, (mask, _) in enumerate(layers):
        for later, _ in layers[i + 1 :]:
            mask &= ~later
    return image, [(m, label) for m, label in layers if m.any()]


def _pairs(item):
    return list(zip(item.masks, item.labels.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(batches(), st.integers(0, 20))
def test_static__equals_loop_from_the_state_before(batch, min_area):
    rgb, items = batch
    before = rgb.clone()
    copy_paste = RefinedCopyPaste('static', min_area=min_area)
    torch.manual_seed(len(items))
    order = torch.randperm(len(items)).tolist()
    torch.manual_seed(len(items))
    images, out = copy_paste(rgb, items)
    assert torch.equal(rgb, before)

    num = max(1, len(items) // 4)
    partner = {}
    for a, b in zip(order[:num], order[num : 2 * num], strict=True):
        partner[a], partner[b] = b, a
    for i, item in enumerate(items):
        if i not in partner:
            assert torch.equal(images[i], before[i])
            assert out[i].labels.tolist() == item.labels.tolist()
            continue
        j = partner[i]
        image, layers = _loop_paste(
            before[i], item, before[j], items[j], min_area
        )
        np.testing.assert_array_equal(images[i].numpy(), image)
        assert out[i].labels.tolist() == [label for _, label in layers]
        for got, (want, _) in zip(out[i].masks, layers, strict=True):
            np.testing.assert_array_equal(got.numpy(), want)
        assert out[i].pasted.tolist() == [
            label // 100 == j for _, label in layers
        ]


@settings(max_examples=60, deadline=None)
@given(batches())
def test_dynamic__masks_disjoint_and_pixels_follow(batch):
    rgb, items = batch
    copy_paste = RefinedCopyPaste('dynamic', min_area=1)
    images, out = copy_paste(rgb, items)
    for i, item in enumerate(out):
        if len(item) == 0:
            continue
        if item.pasted.any():
            assert item.masks.int().sum(0).max() <= 1
        assert item.masks.flatten(1).any(1).all()
        owner = images[i, 0].long() // (H * W)
        for mask, label, pasted in zip(
            item.masks, item.labels.tolist(), item.pasted.tolist(), strict=True
        ):
            # A pasted pixel is one of its instance in the donor.
            assert (owner[mask] == label // 100).all()
            assert pasted == (label // 100 != i)
            if pasted:
                at = images[i, 0][mask].long() % (H * W)
                donor = items[label // 100]
                source = donor.masks[label % 100].flatten()
                assert source[at].all()
        own = ~item.masks[item.pasted].any(0)
        assert torch.equal(images[i][:, own], rgb[i][:, own])


def test_dynamic__size_and_place():
    """Sizes are U(0.8, 1.2) times the box; places cover the canvas."""
    mask = np.zeros((1, 60, 80), bool)
    mask[0, 10:30, 20:60] = True
    donor, empty = _instances(mask, 0), _instances(mask[:0], 1)
    copy_paste = RefinedCopyPaste('dynamic', min_area=1)
    tops, sizes = [], []
    for _ in range(300):
        _, item = copy_paste.paste(
            torch.zeros(3, 60, 80), empty, torch.ones(3, 60, 80), donor
        )
        rows = item.masks[0].any(1).nonzero()
        cols = item.masks[0].any(0).nonzero()
        assert item.masks.sum() == len(rows) * len(cols)
        tops.append(rows.min().item())
        sizes.append((len(rows), len(cols)))
    heights = [s[0] for s in sizes]
    assert min(heights) in (16, 17) and max(heights) in (23, 24)
    assert all(abs(w - 2 * h) <= 2 for h, w in sizes)
    assert min(tops) < 4 and max(tops) > 34


def test_dynamic__larger_than_the_canvas_is_cropped():
    mask = np.ones((1, 10, 10), bool)
    copy_paste = RefinedCopyPaste('dynamic', 1, scale_range=(1.2, 1.2))
    _, item = copy_paste.paste(
        torch.zeros(3, 10, 10),
        _instances(mask[:0], 0),
        torch.ones(3, 10, 10),
        _instances(mask, 5),
    )
    assert item.masks.all()


def test_fields__go_with_their_instances_and_inputs_stay():
    """Weights and what else a labeller wrote, but not the mask logits."""
    items = []
    for i, masks in enumerate(np.zeros((2, 2, H, W), bool)):
        masks[0, 1:4, 1 + 5 * i : 5 + 5 * i] = True
        masks[1, 5:8, 2:4] = True
        item = _instances(masks, 10 * i)
        item.weights = item.labels / 100
        item.mask_logits = torch.zeros(2, H // 4, W // 4)
        items.append(item)
    before = [{k: v.clone() for k, v in i.items()} for i in items]
    rgb = torch.rand(2, 3, H, W)
    _, out = RefinedCopyPaste(min_area=1)(rgb, items)
    for item, old in zip(items, before, strict=True):
        assert set(item.keys()) == set(old)
        assert all(torch.equal(item[k], v) for k, v in old.items())
    for item in out:
        assert 'mask_logits' not in item
        assert item.pasted.any()
        assert torch.equal(item.weights, item.labels / 100)


def test_one_image__is_left_alone():
    rgb = torch.rand(1, 3, H, W)
    item = _instances(np.ones((1, H, W), bool), 0)
    images, out = RefinedCopyPaste(min_area=0)(rgb, [item])
    assert torch.equal(images, rgb)
    assert torch.equal(out[0].masks, item.masks)


@pytest.mark.parametrize('mode', ['static', 'dynamic'])
def test_no_donor__the_image_stays_as_it_is(mode):
    """Overlaps and hidden masks included; the partner receives its own."""
    masks = np.zeros((3, H, W), bool)
    masks[0, 2:4, 2:4] = True  # hidden by the next one
    masks[1, 1:6, 1:6] = True
    masks[2, 4:9, 4:9] = True
    own = _instances(masks, 0)
    small = np.zeros((1, H, W), bool)
    small[0, :2, :2] = True
    rgb = torch.rand(2, 3, H, W)
    copy_paste = RefinedCopyPaste(mode, min_area=5)
    images, out = copy_paste(rgb, [own, _instances(small, 100)])
    assert torch.equal(images[0], rgb[0])
    assert torch.equal(out[0].masks, own.masks)
    assert out[0].labels.tolist() == [0, 1, 2]
    assert not out[0].pasted.any()
    assert out[1].pasted.any()


def test_unrefined__pastes_with_upsampled_logits():
    """Without a refiner: the teacher's logits, bilinear, > 0."""
    logits = torch.randn(2, H // 4, W // 4)
    full = torch.nn.functional.interpolate(
        logits[None], (H, W), mode='bilinear', align_corners=False
    )[0]
    item = InstanceData(
        labels=torch.tensor([0, 1]),
        scores=torch.ones(2),
        masks=logits > 0,
        mask_logits=logits,
    )
    none = _instances(np.zeros((0, H, W)), 0)
    none.mask_logits = torch.zeros(0, H // 4, W // 4)
    rgb = torch.stack([torch.zeros(3, H, W), torch.ones(3, H, W)])
    images, _ = RefinedCopyPaste(min_area=0)(rgb, [none, item])
    assert torch.equal(images[0, 0] == 1, (full > 0).any(0))


def test_topmost__last_wins():
    masks = torch.tensor([[[1, 1, 0]], [[0, 1, 0]]]).bool()
    assert topmost(masks).tolist() == [[0, 1, -1]]


@pytest.mark.parametrize('num', [255, 256, 300])
def test_topmost__many_masks(num):
    """A mask a column, and the last of all over columns 0 to 9."""
    masks = torch.eye(num, dtype=torch.bool)[:, None]
    masks[-1, 0, :10] = True
    want = [num - 1] * 10 + list(range(10, num))
    assert topmost(masks).tolist() == [want]


@pytest.mark.parametrize(
    'options',
    [dict(mode='move'), dict(min_area=-1), dict(scale_range=(1.2, 0.8))],
)
def test_init__bad_value(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RefinedCopyPaste(**options)
