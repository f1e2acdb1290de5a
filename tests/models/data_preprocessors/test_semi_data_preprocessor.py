# SPDX-License-Identifier: Apache-2.0
"""SemiDataPreprocessor: pixels per branch, mean pixel as padding."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from s4m.models import SemiDataPreprocessor

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def _sample(image) -> DetDataSample:
    shape = tuple(image.shape[-2:])
    return DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape))


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
    torch.testing.assert_close(sup[0, :, :30, :40], a.flip(0).float())
    torch.testing.assert_close(sup[1, :, :33, :20], b.flip(0).float())
    torch.testing.assert_close(sup[0, :, 40, 50], torch.tensor(MEAN))
    samples = out['data_samples']['sup']
    assert [s.img_shape for s in samples] == [(30, 40), (33, 20)]
    assert samples[0].batch_input_shape == (64, 64)

    plain = DetDataPreprocessor(
        MEAN, STD, bgr_to_rgb=True, pad_size_divisor=32
    )
    want = plain(dict(inputs=[a, b], data_samples=[_sample(a), _sample(b)]))
    torch.testing.assert_close(
        pre.normalize(sup), want['inputs'], atol=1e-5, rtol=0
    )


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
    torch.testing.assert_close(rgb[0], image.flip(0).float())
    want = DetDataPreprocessor(mean, std)(data)['inputs']
    torch.testing.assert_close(pre.normalize(rgb), want, atol=1e-5, rtol=0)


def test_init__rgb_files_are_refused():
    with pytest.raises(ValueError, match='rgb_to_bgr'):
        SemiDataPreprocessor(MEAN, STD, bgr_to_rgb=False, rgb_to_bgr=True)
