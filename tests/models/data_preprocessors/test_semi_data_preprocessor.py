# SPDX-License-Identifier: Apache-2.0
"""SemiDataPreprocessor: pixels per branch, mean pixel as padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from s4m.models import SemiDataPreprocessor

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def _sample(image) -> DetDataSample:
    shape = tuple(image.shape[-2:])
    return DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape))


def _check_pixels(batch, images, mean) -> None:
    """Exactly the image's RGB inside, exactly the mean pixel outside."""
    mean = torch.tensor(mean).view(3, 1, 1)
    for rgb, image in zip(batch, images, strict=True):
        height, width = image.shape[-2:]
        want = mean.expand_as(rgb).clone()
        want[:, :height, :width] = image.flip(0).float()
        assert torch.equal(rgb, want)


def test_training__branches_of_pixels():
    pre = SemiDataPreprocessor(MEAN, STD, pad_size_divisor=32)
    a = torch.randint(256, (3, 30, 40), dtype=torch.uint8)
    b = torch.randint(256, (3, 33, 20), dtype=torch.uint8)
    data = dict(
        inputs=dict(sup=[a, None, b], unsup=[None, b, None]),
        data_samples=dict(
            sup=[_sample(a), None, _sample(b)], unsup=[None, _sample(b), None]
        ),
    )
    out = pre(data, training=True)
    sup = out['inputs']['sup']
    assert sup.shape == (2, 3, 64, 64)
    assert out['inputs']['unsup'].shape == (1, 3, 64, 32)
    _check_pixels(sup, [a, b], MEAN)
    samples = out['data_samples']['sup']
    assert [s.img_shape for s in samples] == [(30, 40), (33, 20)]
    assert samples[0].batch_input_shape == (64, 64)

    plain = DetDataPreprocessor(
        MEAN, STD, bgr_to_rgb=True, pad_size_divisor=32
    )
    want = plain(dict(inputs=[a, b], data_samples=[_sample(a), _sample(b)]))
    # Nothing is rounded twice.
    assert torch.equal(pre.normalize(sup), want['inputs'])


def test_training__a_list_of_images():
    """What a teacher that distils from the pixels trains on."""
    a = torch.randint(256, (3, 30, 40), dtype=torch.uint8)
    b = torch.randint(256, (3, 33, 20), dtype=torch.uint8)
    options = dict(
        pad_size_divisor=32,
        batch_augments=[
            dict(
                type='BatchFixedSizePad',
                size=(96, 80),
                img_pad_value=0,
                pad_mask=False,
            )
        ],
    )
    pre = SemiDataPreprocessor(MEAN, STD, **options)
    plain = DetDataPreprocessor(MEAN, STD, bgr_to_rgb=True, **options)
    data = dict(inputs=[a, b], data_samples=[_sample(a), _sample(b)])
    # A detector that does not ask for pixels gets what it can train on.
    assert torch.equal(pre(data, True)['inputs'], plain(data, True)['inputs'])
    pre.pixel_batches = True
    out, want = (
        p(dict(inputs=[a, b], data_samples=[_sample(a), _sample(b)]), True)
        for p in (pre, plain)
    )
    assert out['inputs'].shape == (2, 3, 96, 80)
    _check_pixels(out['inputs'], [a, b], MEAN)
    assert torch.equal(pre.normalize(out['inputs']), want['inputs'])
    for got, expected in zip(
        out['data_samples'], want['data_samples'], strict=True
    ):
        assert got.metainfo == expected.metainfo
    # The preprocessor is as it was: evaluation normalises.
    assert torch.equal(
        pre(dict(inputs=[a], data_samples=[_sample(a)]))['inputs'],
        plain(dict(inputs=[a], data_samples=[_sample(a)]))['inputs'],
    )


def test_training__masks_are_padded_as_mmdets():
    image = torch.randint(256, (3, 30, 40), dtype=torch.uint8)
    sample = _sample(image)
    masks = np.ones((1, 30, 40), np.uint8)
    sample.gt_instances = InstanceData(masks=BitmapMasks(masks, 30, 40))
    pre = SemiDataPreprocessor(MEAN, STD, pad_size_divisor=32, pad_mask=True)
    data = dict(inputs=[image], data_samples=[sample])
    (out,) = pre(data, training=True)['data_samples']
    assert out.gt_instances.masks.masks.shape == (1, 32, 64)
    assert out.gt_instances.masks.masks.sum() == 30 * 40
    assert out.pad_shape == out.batch_input_shape == (32, 64)


def test_training__a_batch_without_a_branch():
    """As a sampler that draws from both sets at once gives it."""
    image = torch.randint(256, (3, 32, 32), dtype=torch.uint8)
    data = dict(
        inputs=dict(sup=[None, None], unsup=[image, image]),
        data_samples=dict(
            sup=[None, None], unsup=[_sample(image), _sample(image)]
        ),
    )
    out = SemiDataPreprocessor(MEAN, STD)(data, training=True)
    assert set(out['inputs']) == set(out['data_samples']) == {'unsup'}
    assert len(out['inputs']['unsup']) == 2


def test_evaluation__is_mmdets():
    image = torch.randint(256, (3, 30, 40), dtype=torch.uint8)
    data = dict(inputs=[image], data_samples=[_sample(image)])
    out = SemiDataPreprocessor(MEAN, STD)(data)
    want = DetDataPreprocessor(MEAN, STD, bgr_to_rgb=True)(data)
    assert torch.equal(out['inputs'], want['inputs'])


def test_bgr_network__pixels_stay_rgb():
    """RTMDet's networks see BGR, SAM and copy-paste see RGB all the same."""
    image = torch.randint(256, (3, 32, 32), dtype=torch.uint8)
    data = dict(inputs=[image], data_samples=[_sample(image)])
    mean, std = MEAN[::-1], STD[::-1]
    pre = SemiDataPreprocessor(mean, std, bgr_to_rgb=False)
    branches = {k: dict(sup=v) for k, v in data.items()}
    rgb = pre(branches, training=True)['inputs']['sup']
    assert torch.equal(rgb[0], image.flip(0).float())
    want = DetDataPreprocessor(mean, std)(data)['inputs']
    assert torch.equal(pre.normalize(rgb), want)
    # Padding is the mean pixel in RGB.
    small = image[:, :20]
    pre = SemiDataPreprocessor(mean, std, False, pad_size_divisor=32)
    branches = dict(
        inputs=dict(sup=[small]), data_samples=dict(sup=[_sample(small)])
    )
    rgb = pre(branches, training=True)['inputs']['sup']
    _check_pixels(rgb, [small], MEAN)
    assert not pre.normalize(rgb)[:, :, 20:].any()


def test_init__rgb_files_are_refused():
    with pytest.raises(ValueError, match='rgb_to_bgr'):
        SemiDataPreprocessor(MEAN, STD, bgr_to_rgb=False, rgb_to_bgr=True)
