# SPDX-License-Identifier: Apache-2.0
"""One step against MMDet's two, and what stays a target."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks
from PIL import Image
from pycocotools import mask as mask_utils

H, W = 200, 400


def _image() -> np.ndarray:
    """Noise and edges, which aliasing would show."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (H, W, 3)).astype(np.uint8)
    image[:, : W // 2] = np.kron(
        rng.integers(0, 256, (H // 4, W // 8, 3)), np.ones((4, 4, 1))
    )
    return image


def _instances(kind: str) -> list[dict]:
    """A grid of 4 x 8 objects, as polygons or as RLE."""
    instances = []
    for row in range(4):
        for col in range(8):
            x, y = 50 * col + 5.3, 50 * row + 7.6
            polygon = [x, y, x + 38.4, y + 3, x + 30, y + 35.2, x + 4, y + 30]
            mask = [polygon]
            if kind == 'rle':
                rles = mask_utils.frPyObjects([polygon], H, W)
                mask = mask_utils.merge(rles)
            instances.append(
                dict(
                    bbox=[x, y, x + 38.4, y + 35.2],
                    bbox_label=row * 8 + col,
                    ignore_flag=0,
                    mask=mask,
                )
            )
    return instances


def _run(steps, kind: str, seed: int) -> dict:
    """The pipeline on a fresh sample."""
    results = dict(
        img=_image(),
        ori_shape=(H, W),
        img_shape=(H, W),
        instances=_instances(kind),
    )
    np.random.seed(seed)
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    return results


SCALES = [(W * k // 4, H * k // 4) for k in (1, 2, 3, 4, 5, 7, 8)]
# The last two are no simple ratios.
SCALES += [(614, 307), (233, 117)]
CROP = (131, 100)


def _two_steps(kind: str, seed: int) -> dict:
    stock = dict(
        type='LoadAnnotations', with_mask=True, poly2mask=kind == 'rle'
    )
    resize = dict(
        type='RandomChoiceResize',
        scales=SCALES,
        keep_ratio=True,
        backend='pillow',
    )
    crop = dict(
        type='RandomCrop',
        crop_size=CROP,
        allow_negative_crop=True,
        recompute_bbox=True,
    )
    return _run([stock, resize, crop], kind, seed)


def _one_step(kind: str, seed: int, **options) -> dict:
    step = dict(
        type='RandomChoiceResize',
        scales=SCALES,
        resize_type='ResizeCrop',
        crop_size=CROP,
        **options,
    )
    return _run([dict(type='LoadLazyAnnotations'), step], kind, seed)


@pytest.mark.parametrize('seed', range(12))
def test_result__is_resize_then_crop(seed):
    """Polygons and geometry exactly, pixels to the rounding of two passes."""
    want, got = _two_steps('polygon', seed), _one_step('polygon', seed)
    assert got['img'].shape == want['img'].shape
    assert got['img_shape'] == want['img_shape']
    differ = np.abs(got['img'].astype(int) - want['img'])
    assert differ.max() <= 1
    assert differ.mean() < 0.02  # in noise
    assert got['scale_factor'] == want['scale_factor']
    np.testing.assert_allclose(
        got['homography_matrix'], want['homography_matrix'], rtol=1e-6
    )
    # MMDet keeps what its boxes touch, even without a pixel.
    pixels = want['gt_masks'].to_ndarray()
    seen = pixels.any((1, 2))
    assert got['gt_bboxes_labels'].tolist() == (
        want['gt_bboxes_labels'][seen].tolist()
    )
    assert np.array_equal(got['gt_masks'].masks, pixels[seen])
    boxes = got['gt_bboxes'].tensor.numpy()
    want_boxes = BitmapMasks(pixels[seen], *pixels.shape[1:]).get_bboxes(
        'hbox'
    )
    assert np.array_equal(boxes, want_boxes.tensor.numpy())


@pytest.mark.parametrize('seed', range(6))
def test_rle__is_pillows_nearest_then_crop(seed):
    want, got = _two_steps('rle', seed), _one_step('rle', seed)
    matrix = got['homography_matrix']
    size = round(W * matrix[0, 0]), round(H * matrix[1, 1])
    left, top = -matrix[0, 2], -matrix[1, 2]
    height, width = got['img_shape']
    for label, mask in zip(
        got['gt_bboxes_labels'], got['gt_masks'].masks, strict=True
    ):
        whole = mask_utils.decode(_instances('rle')[label]['mask'])
        whole = Image.fromarray(whole).resize(size, Image.Resampling.NEAREST)
        box = (left, top, left + width, top + height)
        assert np.array_equal(mask, np.array(whole.crop(box)))
    assert set(got['gt_bboxes_labels']) <= set(want['gt_bboxes_labels'])


def test_smaller_image__is_pillows_resize_bit_by_bit():
    """detectron2's resizing; nothing is cropped."""
    results = _one_step('polygon', 3)
    results = _run(
        [
            dict(type='LoadLazyAnnotations'),
            dict(type='ResizeCrop', scale=(120, 60), crop_size=CROP),
        ],
        'polygon',
        0,
    )
    want = Image.fromarray(_image()).resize(
        (120, 60), Image.Resampling.BILINEAR
    )
    assert np.array_equal(results['img'], np.array(want))
    assert len(results['gt_masks']) == 32


def test_backend_cv2__is_mmdets(monkeypatch):
    options = dict(scales=SCALES, keep_ratio=True)
    crop = dict(type='RandomCrop', crop_size=CROP, allow_negative_crop=True)
    load = dict(type='LoadLazyAnnotations')
    two = [load, dict(type='RandomChoiceResize', **options), crop]
    one = [
        load,
        dict(
            type='RandomChoiceResize',
            resize_type='ResizeCrop',
            crop_size=CROP,
            backend='cv2',
            **options,
        ),
    ]
    for seed in range(4):
        want, got = (_run(steps, 'polygon', seed) for steps in (two, one))
        assert np.array_equal(got['img'], want['img'])


@pytest.mark.parametrize('kind', ['polygon', 'rle'])
def test_keep_empty__every_object_stays_a_target(kind):
    """What the released Cityscapes mapper keeps, and what others drop."""
    kept = _one_step(kind, 5, keep_empty=True)
    shown = _one_step(kind, 5)
    assert kept['gt_bboxes_labels'].tolist() == list(range(32))
    assert len(kept['gt_masks']) == len(kept['gt_bboxes']) == 32
    assert len(kept['gt_ignore_flags']) == 32
    areas = kept['gt_masks'].areas
    assert (areas == 0).any()
    assert shown['gt_bboxes_labels'].tolist() == areas.nonzero()[0].tolist()
    boxes = shown['gt_bboxes']
    assert (boxes.widths > 0).all() and (boxes.heights > 0).all()
    assert (shown['gt_masks'].areas > 0).all()


def test_boxes_alone__those_that_the_crop_touches():
    load = LoadAnnotations(with_bbox=True)
    resize = TRANSFORMS.build(
        dict(type='ResizeCrop', scale=(W, H), crop_size=(100, 100))
    )
    for seed in range(8):
        results = load(dict(instances=_instances('rle')))
        results['img'] = _image()
        np.random.seed(seed)
        out = resize(results)
        left, top = -out['homography_matrix'][:2, 2]
        want = [
            i['bbox_label']
            for i in _instances('rle')
            if i['bbox'][0] < left + 100
            and i['bbox'][2] > left
            and i['bbox'][1] < top + 100
            and i['bbox'][3] > top
        ]
        assert out['gt_bboxes_labels'].tolist() == want


def test_mixed_file__polygons_and_rle_in_one_image():
    """MMDet's poly2mask=False would ignore the RLE objects."""
    instances = _instances('polygon')[:3] + _instances('rle')[3:6]
    instances = json.loads(json.dumps(instances, default=lambda b: b.decode()))
    results = dict(ori_shape=(H, W), instances=instances)
    out = TRANSFORMS.build(dict(type='LoadLazyAnnotations'))(results)
    assert not out['gt_ignore_flags'].any()
    assert (out['gt_masks'].areas > 800).all()


def test_simple_ratio__is_bit_identical():
    """A tie between two grey levels falls as in the whole image."""
    crop = dict(crop_size=(61, 47), scale=(W * 3 // 4, H * 3 // 4))
    whole = Image.fromarray(_image()).resize(
        (W * 3 // 4, H * 3 // 4), Image.Resampling.BILINEAR
    )
    for seed in range(6):
        results = dict(img=_image())
        np.random.seed(seed)
        out = TRANSFORMS.build(dict(type='ResizeCrop', **crop))(results)
        left, top = -out['homography_matrix'][:2, 2].astype(int)
        want = np.array(whole)[top : top + 47, left : left + 61]
        assert np.array_equal(out['img'], want)


def test_polygon_masks__mmdets_own_class():
    load = dict(type='LoadAnnotations', with_mask=True, poly2mask=False)
    step = dict(type='ResizeCrop', scale=(W, H), crop_size=CROP)
    got = _run([load, step], 'polygon', 2)
    lazy = _run([dict(type='LoadLazyAnnotations'), step], 'polygon', 2)
    assert got['gt_bboxes_labels'].tolist() == (
        lazy['gt_bboxes_labels'].tolist()
    )
    assert np.array_equal(got['gt_masks'].to_ndarray(), lazy['gt_masks'].masks)


def test_pillow__says_what_it_cannot_resize():
    step = dict(type='ResizeCrop', scale=(20, 20), crop_size=(9, 9))
    with pytest.raises(ValueError, match=r"got float32.*backend='cv2'"):
        TRANSFORMS.build(step)(dict(img=np.zeros((9, 9, 3), np.float32)))
    out = TRANSFORMS.build(dict(step, backend='cv2'))(
        dict(img=np.zeros((9, 9, 3), np.float32))
    )
    assert out['img'].shape == (9, 9, 3)
    with pytest.raises(ValueError, match="got 'area'"):
        TRANSFORMS.build(dict(step, interpolation='area'))
