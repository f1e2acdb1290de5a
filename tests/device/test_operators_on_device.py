# SPDX-License-Identifier: Apache-2.0
"""mmcv's CUDA operators with half inputs: values and gradients of fp32's."""

from __future__ import annotations

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    multi_scale_deformable_attn_pytorch,
)
from torch.nn import functional as F

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]

HALVES = [torch.bfloat16, torch.float16]


def _focal(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Focal loss by its definition (Lin et al., 2017, equation 5)."""
    one_hot = F.one_hot(target, 4)[:, :3].float()
    p_t = torch.where(one_hot > 0, logits.sigmoid(), 1 - logits.sigmoid())
    alpha_t = torch.where(one_hot > 0, 0.25, 0.75)
    return -alpha_t * (1 - p_t) ** 2 * p_t.log()


@pytest.mark.parametrize('dtype', [torch.float32, *HALVES])
def test_focal_loss(dtype):
    """The last class is the background; the loss stays in fp32."""
    logits = torch.randn(6, 3).to(dtype)
    target = torch.tensor([0, 1, 2, 3, 3, 0])
    reference = logits.float().clone().requires_grad_()
    wanted = _focal(reference, target)
    wanted.sum().backward()
    leaf = logits.to('cuda').requires_grad_()
    found = sigmoid_focal_loss(
        leaf, target.to('cuda'), 2.0, 0.25, None, 'none'
    )
    assert found.dtype == torch.float32
    found.sum().backward()
    torch.testing.assert_close(found.cpu(), wanted)
    assert leaf.grad.dtype == dtype
    torch.testing.assert_close(leaf.grad.cpu(), reference.grad.to(dtype))


@pytest.mark.parametrize('dtype', HALVES)
def test_deformable_attention(dtype):
    """A layer of MM-Grounding-DINO inside autocast."""
    shapes = torch.tensor([[6, 8], [3, 4]], device='cuda')
    starts = torch.tensor([0, 48], device='cuda')
    layer = MultiScaleDeformableAttention(16, 2, 2, 4, batch_first=True)
    layer = layer.to('cuda').eval()
    query = torch.randn(2, 60, 16, device='cuda')
    points = torch.rand(2, 60, 2, 2, device='cuda')

    def attend():
        return layer(
            query,
            reference_points=points,
            spatial_shapes=shapes,
            level_start_index=starts,
        )

    wanted = attend()
    with torch.autocast('cuda', dtype):
        found = attend()
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0.05)
    found.sum().backward()
    assert torch.isfinite(layer.value_proj.weight.grad).all()


def test_deformable_attention__fp32_as_on_the_host():
    shapes = torch.tensor([[4, 4]])
    value, weights = torch.rand(1, 16, 2, 3), torch.rand(1, 5, 2, 1, 4)
    places = torch.rand(1, 5, 2, 1, 4, 2)
    wanted = multi_scale_deformable_attn_pytorch(
        value, shapes, places, weights
    )
    from mmcv.ops.multi_scale_deform_attn import (
        MultiScaleDeformableAttnFunction as Attention,
    )

    start = torch.zeros(1, dtype=torch.long)
    inputs = [t.to('cuda') for t in (value, shapes, start, places, weights)]
    found = Attention.apply(*inputs, 64)
    torch.testing.assert_close(found.cpu(), wanted)
