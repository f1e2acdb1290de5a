# SPDX-License-Identifier: Apache-2.0
"""LazyMasks against pycocotools, Pillow and geometry."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from PIL import Image
from pycocotools import mask as mask_utils
from s4m.structures import LazyMasks, lazy_masks
from s4m.structures.mask_patches import decode_columns

H, W = 60, 90
SQUARE = [10.0, 20.0, 30.0, 20.0, 30.0, 40.0, 10.0, 40.0]
TRIANGLE = [50.3, 5.1, 85.7, 30.2, 48.9, 55.5]


def _circle(x, y, radius, corners=100) -> list[float]:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    points = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)])
    return points.T.reshape(-1).tolist()


def _pixels(polygons, height, width) -> np.ndarray:
    """pycocotools' mask of an object's polygons."""
    rles = mask_utils.frPyObjects(polygons, height, width)
    return mask_utils.decode(mask_utils.merge(rles))


def _bitmap(seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.random((H // 5, W // 5)) > 0.5
    mask = np.kron(small, np.ones((5, 5), np.uint8)).astype(np.uint8)
    mask[:7] = 0
    return mask


def _rle(mask, compressed=True) -> dict:
    rle = mask_utils.encode(np.asfortranarray(mask))
    if compressed:
        return rle
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    counts = np.diff([0, *edges, len(flat)]).tolist()
    return dict(size=list(mask.shape), counts=counts)


def _pillow(mask, height, width) -> np.ndarray:
    image = Image.fromarray(mask).resize(
        (width, height), Image.Resampling.NEAREST
    )
    return np.array(image)


def test_masks__are_pycocotools():
    bitmap = _bitmap()
    masks = LazyMasks(
        [[SQUARE, TRIANGLE], _rle(bitmap), _rle(bitmap, False)], H, W
    )
    assert masks.masks.dtype == np.uint8
    assert np.array_equal(masks.masks[0], _pixels([SQUARE, TRIANGLE], H, W))
    assert np.array_equal(masks.masks[1], bitmap)
    assert np.array_equal(masks.masks[2], bitmap)


@pytest.mark.parametrize('size', [(30, 45), (12, 18), (75, 113), (60, 90)])
def test_resize__polygons_are_scaled_rle_is_pillows_nearest(size):
    masks = LazyMasks([[TRIANGLE], _rle(_bitmap())], H, W).resize(size)
    scaled = np.array(TRIANGLE).reshape(-1, 2) * (size[1] / W, size[0] / H)
    want = _pixels([scaled.reshape(-1).tolist()], *size)
    assert np.array_equal(masks.masks[0], want)
    assert np.array_equal(masks.masks[1], _pillow(_bitmap(), *size))


@pytest.mark.parametrize('kind', ['polygon', 'rle'])
def test_chain__equals_the_steps_on_bitmaps(kind):
    """Resize, crop, flip; the oracle works on whole arrays."""
    item = [TRIANGLE] if kind == 'polygon' else _rle(_bitmap())
    masks = LazyMasks([item], H, W).resize((90, 135))
    want = masks.masks[0]
    masks = LazyMasks([item], H, W).resize((90, 135))
    for direction, axes in (('horizontal', 1), ('vertical', 0)):
        box = np.array([20, 11, 101, 77])
        cropped = masks.crop(box).flip(direction)
        expected = np.flip(want[11:77, 20:101], axes)
        # The outline of a cropped or flipped polygon may shift by a pixel.
        differ = (cropped.masks[0] != expected).mean()
        assert differ <= (0.02 if kind == 'polygon' else 0)
        made = masks.crop(box)
        pixels = made.masks[0]
        flipped = made.flip(direction).masks[0]
        assert np.array_equal(flipped, np.flip(pixels, axes))


def test_crop__equals_mmdets_polygons():
    polygons = [[SQUARE], [TRIANGLE, SQUARE], [_circle(70, 40, 15)]]
    stock = PolygonMasks([[np.array(p) for p in o] for o in polygons], H, W)
    lazy = LazyMasks(polygons, H, W)
    for box in (
        [0, 0, 90, 60],
        [25, 10, 60, 50],
        [0, 0, 20, 15],
        [80, 50, 99, 99],
    ):
        want = stock.crop(np.array(box)).to_ndarray()
        got = lazy.crop(np.array(box))
        assert (got.height, got.width) == want.shape[1:]
        assert np.array_equal(got.masks, want)


def test_resize__is_closer_to_the_shape_than_a_resized_bitmap():
    """The IoU with the disc that the polygon stands for."""
    outline = _circle(40.4, 30.2, 21.3)
    bitmap = BitmapMasks([_pixels([outline], H, W)], H, W)
    size = (12, 18)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    disc = (x - 40.4 / 5) ** 2 + (y - 30.2 / 5) ** 2 < (21.3 / 5) ** 2

    def iou(mask):
        return (disc & (mask > 0)).sum() / (disc | (mask > 0)).sum()

    whole = LazyMasks([[outline]], H, W)
    rle = LazyMasks([_rle(bitmap.masks[0])], H, W)
    assert iou(bitmap.resize(size).masks[0]) < 0.88
    assert iou(whole.resize(size).masks[0]) > 0.92
    assert iou(rle.resize(size).masks[0]) > 0.92


def test_outside__is_not_decoded(monkeypatch):
    """A crop pays for what it shows."""
    mask = np.zeros((H, W), np.uint8)
    mask[30:50, 60:80] = 1
    calls = []
    monkeypatch.setattr(
        lazy_masks,
        'decode_columns',
        lambda rle, *part: calls.append(part) or decode_columns(rle, *part),
    )
    masks = LazyMasks([_rle(mask)] * 3, H, W).resize((120, 180))
    assert not masks.crop(np.array([0, 0, 100, 100])).masks.any()
    assert not calls
    assert masks.crop(np.array([100, 40, 140, 80])).masks.any()
    # Columns 60 to 70 of the 90 that the image has.
    assert calls == [(60, 70)] * 3


@pytest.mark.parametrize(
    ('index', 'chosen'),
    [
        (np.array([2, 0]), [2, 0]),
        (np.array([True, False, True]), [0, 2]),
        ([1], [1]),
        (1, [1]),
        (slice(1, None), [1, 2]),
        (np.zeros(0, np.int64), []),
    ],
)
@pytest.mark.parametrize('made', [False, True])
def test_getitem__as_bitmap_masks(index, chosen, made):
    masks = LazyMasks([[SQUARE], [TRIANGLE], _rle(_bitmap())], H, W)
    want = masks.masks[chosen]
    if not made:
        masks = LazyMasks([[SQUARE], [TRIANGLE], _rle(_bitmap())], H, W)
    got = masks[index]
    assert len(got) == len(chosen)
    assert np.array_equal(got.masks, want)
    assert np.array_equal(got.pad((70, 100)).masks[:, :H, :W], want)


def test_pickle__another_process_gets_pixels():
    masks = LazyMasks([[SQUARE], _rle(_bitmap())], H, W).resize((30, 45))
    other = pickle.loads(pickle.dumps(masks))
    assert type(other) is BitmapMasks
    assert np.array_equal(other.masks, masks.masks)
    assert (other.height, other.width) == (30, 45)


def test_empty__no_objects():
    masks = LazyMasks([], H, W).resize((30, 45)).crop(np.array([0, 0, 9, 8]))
    assert masks.masks.shape == (0, 8, 9)
    assert len(masks.get_bboxes('hbox')) == 0
    assert len(masks.flip()) == 0


def test_init__rle_of_another_size():
    with pytest.raises(ValueError, match='60 x 90 pixels'):
        LazyMasks([_rle(_bitmap())], 90, 60)
    with pytest.raises(ValueError, match="use 'nearest'"):
        LazyMasks([], H, W).resize((1, 1), 'bilinear')


def test_flip__an_object_without_a_polygon():
    """A box may touch a crop that its polygon does not."""
    masks = LazyMasks([[SQUARE], [TRIANGLE], []], H, W)
    cropped = masks.crop(np.array([0, 0, 20, 15])).flip()
    assert cropped.masks.shape == (3, 15, 20)
    assert not cropped.masks.any()


def test_pixels__count_once_they_are_there():
    """Erasing, then any change of geometry; MMDet's CopyPaste sets them."""
    masks = LazyMasks([[SQUARE], _rle(_bitmap())], H, W)
    stock = BitmapMasks(masks.masks.copy(), H, W)
    for some in (masks, stock):
        some.masks[:, 25:] = 0
    box = np.array([5, 5, 60, 50])
    for change in (
        lambda m: m.resize((75, 113)),
        lambda m: m.rescale(0.5),
        lambda m: m.crop(box),
        lambda m: m.flip('vertical'),
        lambda m: m[1:],
    ):
        got = change(masks)
        assert np.array_equal(got.masks, change(stock).masks)
    masks.masks = np.ones((3, H, W), np.uint8)
    assert len(masks) == 3 and masks.areas.tolist() == [H * W] * 3


def _both(seed=0):
    """Lazy masks whose pixels of tight boxes are made, and bitmaps."""
    items = [[SQUARE], _rle(_bitmap(seed)), [TRIANGLE], []]
    box = np.array([15, 8, 70, 50])
    pixels = LazyMasks(items, H, W).crop(box).masks
    lazy = LazyMasks(items, H, W).crop(box)
    assert lazy.visible().tolist() == pixels.any((1, 2)).tolist()
    return lazy, BitmapMasks(pixels, 42, 55)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('flip', ['horizontal', 'vertical', 'diagonal'])
def test_tight_pixels__equal_bitmaps(seed, flip):
    """Boxes, flips, a selection and a copy, without the array of pixels."""
    lazy, stock = _both(seed)
    chosen = np.array([2, 3, 1])
    for _ in range(2):
        lazy, stock = lazy.flip(flip)[chosen], stock.flip(flip)[chosen]
        boxes = lazy.get_bboxes('hbox').tensor
        want = stock.get_bboxes('hbox').tensor
        assert boxes.dtype == want.dtype and boxes.tolist() == want.tolist()
        flip, chosen = 'horizontal', np.array([0, 2])
    assert lazy._pixels is None
    copied = copy.deepcopy(lazy)
    assert np.array_equal(lazy.masks, stock.masks)
    lazy.masks[:] = 1
    assert np.array_equal(copied.masks, stock.masks)
    again = copy.deepcopy(copied)
    copied.masks[:] = 1
    assert np.array_equal(again.masks, stock.masks)


def test_tight_pixels__resize_and_crop_as_bitmaps():
    lazy, stock = _both()
    box = np.array([5, 5, 30, 50])
    for change in (lambda m: m.resize((21, 30)), lambda m: m.crop(box)):
        assert np.array_equal(change(lazy).masks, change(stock).masks)


def test_pickle__holds_tight_boxes_only():
    masks = LazyMasks([[SQUARE]] * 9, 1000, 1000)
    data = pickle.dumps(masks)
    assert len(data) < 9 * 500
    assert np.array_equal(pickle.loads(data).masks, masks.masks)


def _masks_of_many_kinds():
    rng = np.random.default_rng(0)
    yield np.zeros((7, 5), np.uint8)
    yield np.ones((7, 5), np.uint8)
    yield _bitmap()
    for share in (0.01, 0.5, 0.99):
        for shape in ((1, 40), (40, 1), (33, 57)):
            yield (rng.random(shape) < share).astype(np.uint8)
    large = np.zeros((1500, 1100), np.uint8)  # counts of several characters
    large[700:, 300:901] = 1
    large[::7, 500] = 1
    yield large


def test_decode_columns__is_pycocotools():
    for mask in _masks_of_many_kinds():
        rle = mask_utils.encode(np.asfortranarray(mask))
        width = mask.shape[1]
        for start, stop in ((0, width), (width // 3, width // 2 + 1)):
            for counts in (rle['counts'], rle['counts'].decode()):
                got = decode_columns(dict(rle, counts=counts), start, stop)
                assert got.dtype == np.uint8
                assert np.array_equal(got.T, mask[:, start:stop])
