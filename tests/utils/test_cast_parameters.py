# SPDX-License-Identifier: Apache-2.0
"""Parameters that are cast together equal those that autocast casts."""

from __future__ import annotations

import pytest
import torch
from s4m.utils.cast_parameters import CastParameters, autocast_dtype
from torch import nn


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    net[2].bias.requires_grad_(False)
    return net


def _gradients(net: nn.Module, out: torch.Tensor) -> list:
    net.zero_grad()
    out.float().square().sum().backward()
    return [p.grad for p in net.parameters()]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_layers__as_in_autocast(dtype):
    net, x = _net(), torch.rand(5, 8)
    with torch.autocast('cpu', dtype):
        wanted = net(x)
        expected = _gradients(net, wanted)
        with CastParameters(net.modules(), dtype):
            found = net(x)
    assert torch.equal(found, wanted)
    for a, b in zip(_gradients(net, found), expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == torch.float32 and torch.equal(a, b)


def test_block__leaves_the_parameters_after_an_error():
    net = _net()
    before = list(net.parameters())
    cast = CastParameters(net.modules(), torch.bfloat16)
    with pytest.raises(ZeroDivisionError), cast:
        with cast:  # as in a recomputation
            assert net[0].weight.dtype == torch.bfloat16
        assert net[0].weight.dtype == torch.bfloat16
        raise ZeroDivisionError
    assert all(a is b for a, b in zip(net.parameters(), before, strict=True))


def test_shared_parameter__gets_the_sum_of_its_gradients():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    x = torch.ones(1, 3).bfloat16()
    with CastParameters(net.modules(), torch.bfloat16):
        assert first.weight is second.weight
        net(x).sum().backward()
    weight = first.weight.detach().bfloat16().requires_grad_()
    inner = nn.functional.linear(x, weight, first.bias.detach().bfloat16())
    nn.functional.linear(inner, weight).sum().backward()
    torch.testing.assert_close(first.weight.grad, weight.grad.float())


def test_parameters_of_the_type__are_not_copied():
    net = _net()
    before = net[0].weight
    with CastParameters(net.modules(), torch.float32):
        assert net[0].weight is before
    with torch.no_grad(), CastParameters(net.modules(), torch.bfloat16):
        assert not net[0].weight.requires_grad


def test_autocast_dtype():
    device = torch.device('cpu')
    assert autocast_dtype(device) is None
    with torch.autocast('cpu', torch.float16):
        assert autocast_dtype(device) == torch.float16
        with torch.autocast('cpu', enabled=False):
            assert autocast_dtype(device) is None
