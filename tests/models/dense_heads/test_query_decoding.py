# SPDX-License-Identifier: Apache-2.0
"""The decoder of queries equals MMDet's, in fp32 and in autocast."""

from __future__ import annotations

import copy

import pytest
import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention
from mmdet.registry import MODELS
from s4m.models.dense_heads.query_attention import QueryAttention


def _close(found, wanted, share: float) -> None:
    """The mean difference is a share of the mean size."""
    error = (found.float() - wanted.float()).abs().mean()
    assert error <= share * wanted.float().abs().mean()


@pytest.fixture(scope='module')
def heads(shared_config):
    """Our head and MMDet's with the same weights, and a pyramid."""
    torch.manual_seed(0)
    cfg = shared_config('supervised_shapes_5p').model
    stock = copy.deepcopy(cfg)
    stock.panoptic_head.type = 'Mask2FormerHead'
    stock.panoptic_head.pixel_decoder.type = 'MSDeformAttnPixelDecoder'
    ours, stock = MODELS.build(cfg), MODELS.build(stock)
    ours.init_weights()
    stock.load_state_dict(ours.state_dict())
    with torch.no_grad():
        feats = ours.extract_feat(torch.rand(2, 3, 64, 96))
    return ours.panoptic_head, stock.panoptic_head, feats


def _run(head, feats):
    """Logits of all layers, and gradients of the parameters by name."""
    classes, masks = head(feats, [])
    outputs = [*classes, *masks]
    total = sum((out.float() * out.detach().cos()).sum() for out in outputs)
    head.zero_grad()
    total.backward()
    grads = {n: p.grad for n, p in head.named_parameters()}
    return outputs, {n: g for n, g in grads.items() if g is not None}


def test_fp32__equals_mmdets(heads):
    ours, stock, feats = heads
    wanted, found = _run(stock, feats), _run(ours, feats)
    for a, b in zip(found[0], wanted[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    assert found[1].keys() == wanted[1].keys()
    for name, grad in wanted[1].items():
        _close(found[1][name], grad, 1e-3)


@pytest.mark.parametrize(
    ('dtype', 'share'), [(torch.bfloat16, 0.05), (torch.float16, 0.01)]
)
def test_half__as_mmdets_in_autocast(heads, dtype, share):
    """MMDet's head after our pixel decoder, which its own cannot replace."""
    ours, stock, feats = heads
    stock = copy.deepcopy(stock)
    stock.pixel_decoder = ours.pixel_decoder
    with torch.autocast('cpu', dtype):
        wanted, found = (head(feats, []) for head in (stock, ours))
    for a, b in zip([*found[0], *found[1]], [*wanted[0], *wanted[1]],
                    strict=True):  # fmt: skip
        assert a.dtype == b.dtype == dtype
        _close(a, b, share)
    with torch.autocast('cpu', dtype):
        _, grads = _run(ours, feats)
    assert all(
        g.dtype == torch.float32 and torch.isfinite(g).all()
        for g in grads.values()
    )
    assert all(p.dtype == torch.float32 for p in ours.parameters())


def test_positions__are_kept_for_few_sizes(heads):
    ours, stock, _ = heads
    sizes = [(4, 6), (8, 12)]
    kept = ours._encodings(sizes, torch.device('cpu'))
    assert ours._encodings(sizes, torch.device('cpu')) is kept
    wanted = stock.decoder_positional_encoding(torch.zeros(2, 4, 6).bool())
    torch.testing.assert_close(kept[0].expand(2, -1, -1), wanted.flatten(2).mT)
    for width in range(1, 8):
        ours._encodings([(4, width)], torch.device('cpu'))
    assert len(ours._positions) <= 4


def test_mask__an_empty_one_hides_nothing(heads):
    ours, _, _ = heads
    width = ours.query_feat.weight.shape[1]
    features = torch.zeros(1, width, 8, 8)
    query = ours.query_feat.weight[None].detach()
    with torch.no_grad():
        embed = ours.mask_embed(ours.transformer_decoder.post_norm(query))
    # The mask of query 0 is the left half, that of its opposite is not.
    features[0, :, :, :4] = embed[0, 0, :, None, None]
    features[0, :, :, 4:] = -embed[0, 0, :, None, None]
    _, _, hidden = ours._forward_head(query, features, (8, 8))
    assert hidden.shape == (1, len(query[0]), 64)
    assert torch.equal(hidden[0, 0].view(8, 8)[0], torch.arange(8) >= 4)
    _, _, hidden = ours._forward_head(
        query, -embed[:, 0, :, None, None].expand(-1, -1, 8, 8), (8, 8)
    )
    assert not hidden[0, 0].any()


@pytest.mark.parametrize('with_mask', [False, True])
def test_attention__equals_mmcvs(with_mask):
    torch.manual_seed(0)
    args = dict(embed_dims=32, num_heads=4, dropout=0.0, batch_first=True)
    stock, ours = MultiheadAttention(**args), QueryAttention(**args)
    ours.load_state_dict(stock.state_dict())
    query, pos = torch.rand(2, 2, 5, 32)
    key, key_pos = torch.rand(2, 2, 9, 32)
    mask = torch.rand(2, 5, 9) < 0.5
    mask[..., 0] = False
    common = dict(query=query, query_pos=pos)
    if with_mask:
        common.update(key=key, value=key)
        wanted = stock(
            **common,
            key_pos=key_pos,
            attn_mask=mask.repeat_interleave(4, dim=0),
        )
        found = ours(**common, key_pos=key_pos, attn_mask=mask)
    else:
        common.update(key=query, value=query, key_pos=pos)
        wanted, found = stock(**common), ours(**common)
    torch.testing.assert_close(found, wanted)
