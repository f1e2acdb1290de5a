# SPDX-License-Identifier: Apache-2.0
"""Mask2Former's pixel decoder without waits equals MMDet's."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from s4m.models.pixel_decoders import encoder_attention


def _decoders(levels: int = 3, num_layers: int = 2):
    """MMDet's decoder, and this project's with the same weights."""
    attention = dict(
        embed_dims=32,
        num_heads=4,
        num_levels=levels,
        num_points=4,
        dropout=0.0,
        batch_first=True,
    )
    cfg = ConfigDict(
        type='MSDeformAttnPixelDecoder',
        in_channels=[8, 16, 24, 32],
        strides=[4, 8, 16, 32],
        feat_channels=32,
        out_channels=32,
        num_outs=3,
        norm_cfg=dict(type='GN', num_groups=4),
        encoder=dict(
            num_layers=num_layers,
            layer_cfg=dict(
                self_attn_cfg=attention,
                ffn_cfg=dict(
                    embed_dims=32, feedforward_channels=64, ffn_drop=0.0
                ),
            ),
        ),
        positional_encoding=dict(num_feats=16, normalize=True),
    )
    torch.manual_seed(0)
    mmdet = MODELS.build(copy.deepcopy(cfg))
    mmdet.init_weights()
    # Their initial value, 0, would hide the order of points and levels.
    for layer in mmdet.encoder.layers:
        torch.nn.init.normal_(layer.self_attn.sampling_offsets.weight)
        torch.nn.init.normal_(layer.self_attn.attention_weights.weight)
    cfg.type = 'Fp32MSDeformAttnPixelDecoder'
    ours = MODELS.build(cfg)
    ours.load_state_dict(mmdet.state_dict())
    return mmdet, ours


def _pyramid(size: tuple[int, int], batch: int = 2) -> list[torch.Tensor]:
    height, width = size
    return [
        torch.rand(
            batch, 8 * (i + 1), height >> (2 + i), width >> (2 + i)
        ).requires_grad_()
        for i in range(4)
    ]


def _run(decoder, feats):
    """Outputs, and the gradients of inputs and parameters."""
    mask, memories = decoder(feats)
    outputs = [mask, *memories]
    total = sum((out * out.detach().cos()).sum() for out in outputs)
    grads = torch.autograd.grad(total, [*feats, *decoder.parameters()])
    return outputs, grads


@pytest.mark.parametrize('levels', [3, 4])
def test_decoder__equals_mmdets(levels):
    mmdet, ours = _decoders(levels)
    for size in ((64, 96), (96, 64), (64, 96)):
        feats = _pyramid(size)
        wanted, found = _run(mmdet, feats), _run(ours, feats)
        assert len(wanted[0]) == len(found[0])
        for a, b in zip(
            [*wanted[0], *wanted[1]], [*found[0], *found[1]], strict=True
        ):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)


def test_checkpointed__has_the_same_gradients():
    _, ours = _decoders()
    feats = _pyramid((64, 96))
    wanted = _run(ours, feats)
    runs = []
    layer = ours.encoder.layers[0]
    layer.register_forward_pre_hook(lambda *_: runs.append(1))
    ours.with_cp = True
    found = _run(ours, feats)
    assert len(runs) == 2
    for a, b in zip(
        [*wanted[0], *wanted[1]], [*found[0], *found[1]], strict=True
    ):
        torch.testing.assert_close(b, a)
    with torch.no_grad():
        ours(feats)
    assert len(runs) == 3


def test_decoder__keeps_few_geometries_and_is_copied():
    _, ours = _decoders(num_layers=1)
    with torch.inference_mode():
        ours(_pyramid((64, 96)))
    for width in range(64, 64 + 32 * 6, 32):
        ours(_pyramid((64, width), batch=1))
    assert 1 <= len(ours._geometries) <= 4
    feats = _pyramid((64, 96))
    copied = pickle.loads(pickle.dumps(copy.deepcopy(ours)))
    a, b = _run(ours, feats)[0], _run(copied, feats)[0]
    assert all(map(torch.equal, a, b))
    assert (
        ours.state_dict().keys()
        == _decoders(num_layers=1)[0].state_dict().keys()
    )


@pytest.mark.parametrize(
    ('dtype', 'bf16', 'found'),
    [
        (torch.bfloat16, True, torch.bfloat16),
        (torch.bfloat16, False, torch.float32),
        # Sums of the pyramid might exceed the range of fp16.
        (torch.float16, True, torch.float32),
    ],
)
def test_decoder__computes_inside_autocast(dtype, bf16, found):
    _, ours = _decoders(num_layers=1)
    ours.bf16 = bf16
    feats = [f.to(dtype) for f in _pyramid((64, 96))]
    wanted = ours([f.float() for f in feats])
    with torch.autocast('cpu', dtype):
        mask, memories = ours(feats)
    # The mean error of some roundings of 2**-9.
    share = 0.02 if found == torch.bfloat16 else 0
    for a, b in zip([mask, *memories], [wanted[0], *wanted[1]], strict=True):
        assert a.dtype == found
        assert (a.float() - b).abs().mean() <= share * b.abs().mean()


def test_bf16__samples_in_fp32(monkeypatch):
    _, ours = _decoders(num_layers=2)
    types, sample = [], encoder_attention.multi_scale_deformable_attn_pytorch

    def spy(values, shapes, locations, weights):
        types.append({values.dtype, locations.dtype, weights.dtype})
        # Not rounded to bf16.
        assert (locations != locations.bfloat16().float()).any()
        return sample(values, shapes, locations, weights)

    monkeypatch.setattr(
        encoder_attention, 'multi_scale_deformable_attn_pytorch', spy
    )
    with torch.autocast('cpu', torch.bfloat16):
        ours(_pyramid((64, 96)))
    assert types == [{torch.float32}] * 2


def test_bf16__gradients_are_near_those_of_fp32():
    """With and without checkpointing, whose gradients are the same."""
    _, ours = _decoders()
    feats = _pyramid((64, 96))
    _, wanted = _run(ours, feats)
    runs = []
    for ours.with_cp in (False, True):
        with torch.autocast('cpu', torch.bfloat16):
            runs.append(_run(ours, feats)[1])
    for a, b, c in zip(*runs, wanted, strict=True):
        assert a.dtype == c.dtype and torch.isfinite(a).all()
        assert torch.equal(a, b)
    flat, expected = (
        torch.cat([g.flatten() for g in grads]) for grads in (runs[0], wanted)
    )
    assert torch.cosine_similarity(flat, expected, dim=0) > 0.999
    assert all(p.dtype == torch.float32 for p in ours.parameters())
