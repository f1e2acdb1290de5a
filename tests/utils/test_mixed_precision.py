# SPDX-License-Identifier: Apache-2.0
"""Half inputs where MMCV and MMDetection need fp32; s4m's import mends it."""

from __future__ import annotations

import pytest
import torch
from mmcv.ops import batched_nms, roi_align
from mmdet.models.dense_heads import MaskFormerHead
from mmdet.models.roi_heads.roi_extractors import (
    GenericRoIExtractor,
    SingleRoIExtractor,
)
from mmdet.models.task_modules.prior_generators import (
    AnchorGenerator,
    MlvlPointGenerator,
)
from s4m.utils import mixed_precision
from torch import nn

HALVES = [torch.bfloat16, torch.float16]


def _boxes() -> torch.Tensor:
    corners = torch.rand(40, 2) * 30
    return torch.cat([corners, corners + 5 + torch.rand(40, 2) * 20], 1)


@pytest.mark.parametrize('dtype', HALVES)
def test_nms(dtype):
    """The boxes that the rounded values have in fp32."""
    boxes, scores = _boxes().to(dtype), torch.rand(40)
    labels = torch.randint(0, 2, (40,))
    found = batched_nms(boxes, scores, labels, dict(iou_threshold=0.5), True)
    wanted = batched_nms(
        boxes.float(), scores, labels, dict(iou_threshold=0.5), True
    )
    assert torch.equal(found[1], wanted[1]) and 0 < len(wanted[1]) < 40


@pytest.mark.parametrize('dtype', HALVES)
def test_roi_align__and_its_gradient(dtype):
    # Regions that the type holds.
    rois = torch.cat([torch.zeros(40, 1), _boxes()], 1).to(dtype)
    maps = torch.rand(1, 3, 64, 64).to(dtype)
    results = []
    for x in (maps, maps.float()):
        x = x.clone().requires_grad_()
        out = roi_align(x, rois.to(x.dtype), (4, 4))
        out.float().square().sum().backward()
        results.append((out, x.grad))
    (half, half_grad), (full, full_grad) = results
    assert half.dtype == half_grad.dtype == dtype
    torch.testing.assert_close(half, full.to(dtype))
    torch.testing.assert_close(
        half_grad, full_grad.to(dtype), atol=0.1, rtol=0.05
    )


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('kind', [SingleRoIExtractor, GenericRoIExtractor])
def test_extractor__regions_stay_exact(kind, dtype):
    """At 1003.3, bf16 counts in steps of 4 pixels."""
    extractor = kind(
        roi_layer=dict(type='RoIAlign', output_size=2, sampling_ratio=0),
        out_channels=1,
        featmap_strides=[8],
    )
    # A ramp, whose values are whole numbers that bf16 holds.
    ramp = torch.arange(160.0).expand(1, 1, 160, 160).contiguous()
    rois = torch.tensor([[0, 1003.3, 1001.1, 1021.3, 1019.1]])
    wanted = extractor((ramp,), rois)
    found = extractor((ramp.to(dtype),), rois)
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted.to(dtype))


@pytest.mark.parametrize('dtype', HALVES)
def test_priors__are_exact(dtype):
    """RPN, RTMDet, FCOS ask for them in the type of the predictions."""
    for generator in (
        MlvlPointGenerator([8], offset=0.5),
        AnchorGenerator([8], ratios=[1.0], scales=[1]),
    ):
        kwargs = dict(featmap_sizes=[(4, 300)], device='cpu')
        (found,) = generator.grid_priors(dtype=dtype, **kwargs)
        (wanted,) = generator.grid_priors(**kwargs)
        assert torch.equal(found, wanted) and found.dtype == torch.float32
        (double,) = generator.grid_priors(dtype=torch.float64, **kwargs)
        assert double.dtype == torch.float64


def test_maskformer__losses_do_not_overflow():
    """65504 pixels are fp16's limit; the losses ask for 3 x 256 x 256."""
    seen = []

    def loss(self, scores, masks, objects, metas):
        assert not torch.is_autocast_enabled('cpu')
        seen.extend([*scores, *masks])
        return dict(loss=scores[0].sum() + (masks[0] * 0 + 1).sum())

    wide = mixed_precision._with_fp32_logits(loss)
    with torch.autocast('cpu', torch.bfloat16):
        scores = torch.zeros(2, 1, 5, 9).half()
        masks = [torch.zeros(1, 3, 256, 256).half()] * 2
        result = wide(nn.Identity(), scores, masks, [], [])
    assert all(x.dtype == torch.float32 for x in seen)
    assert float(result['loss']) == 3 * 256 * 256
    # The head that configs name has it.
    assert MaskFormerHead.loss_by_feat.__wrapped__
