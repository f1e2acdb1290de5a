# SPDX-License-Identifier: Apache-2.0
"""The simulated device refuses, waits and counts as CUDA does."""

from __future__ import annotations

import gc
import sys

import pytest
import torch
from device.simulated_device import WHY_NOT
from torch.nn import functional as F

if WHY_NOT is not None:
    pytest.skip(WHY_NOT, allow_module_level=True)

from device.simulator import DeviceMismatch, Simulator


@pytest.fixture
def sim():
    with Simulator() as sim:
        yield sim


def _half_nms():
    from mmcv.ops.nms import ext_module

    boxes = torch.rand(3, 4, device='cuda').bfloat16()
    ext_module.nms(boxes, boxes[:, 0], iou_threshold=0.5, offset=0)


@pytest.mark.parametrize(
    'operation',
    [
        lambda x: x + torch.rand(3),
        lambda x: torch.rand(3)[x.long()],
        lambda x: torch.cat([x, torch.rand(3)]),
        lambda x: torch.rand(3).add_(x),
        lambda x: x.long() @ x.long(),
        lambda x: x.numpy(),
        lambda x: torch.rand(3, generator=torch.Generator(), device='cuda'),
        lambda x: F.interpolate(
            x.byte().view(1, 1, 3, 1), scale_factor=2, mode='bilinear'
        ),
        lambda x: F.binary_cross_entropy_with_logits(x, torch.zeros(3)),
        lambda x: _half_nms(),
    ],
)
def test_mismatch__what_cuda_refuses(sim, operation):
    with pytest.raises(DeviceMismatch):
        operation(torch.rand(3, device='cuda'))


def test_mismatch__what_cuda_takes(sim):
    """Scalars of the host, host indices, copies in both directions."""
    x = torch.arange(3.0, device='cuda')
    assert (x + torch.tensor(2.0)).tolist() == [2, 3, 4]
    assert x[torch.tensor([2, 0])].tolist() == [2, 0]
    x[x > 1] = 7
    target = torch.zeros(3)
    target.copy_(x)
    assert target.tolist() == [0, 1, 7]
    assert x.device == torch.device('cuda', 0) and not x.is_cpu


@pytest.mark.parametrize(
    ('operation', 'waits'),
    [
        (lambda x: x.sum(), 0),
        (lambda x: x.sum().item(), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x.masked_fill(x > 0, 1.0), 0),
        (lambda x: x.nonzero(), 1),
        (lambda x: torch.tensor([1.0], device='cuda'), 1),
        (lambda x: torch.rand(3).to('cuda', non_blocking=True), 0),
        (lambda x: torch.zeros(3, device='cuda'), 0),
        (lambda x: bool(x.any()), 1),
    ],
)
def test_synchronisations(sim, operation, waits):
    x = torch.ones(3, device='cuda')
    sim.clear()
    operation(x)
    assert sim.num_syncs() == waits


def test_memory__by_phase(sim):
    gc.collect()
    before = sim.live
    with sim.phase('both'):
        x = torch.zeros(1024, device='cuda')
        y = x.view(32, 32)  # the same memory
        z = torch.zeros(1, device='cuda')  # a block of 512 bytes
        assert sim.live - before == 4096 + 512
    del x, y
    assert sim.live - before == 512
    assert sim.peaks['both'] - before == 4096 + 512
    assert sim.launches['both'] == 2
    del z


def test_gradients__are_those_of_the_host(sim):
    torch.manual_seed(0)
    host = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()
    )
    images = torch.rand(2, 3, 8, 8)
    host(images).square().sum().backward()
    wanted = [p.grad.clone() for p in host.parameters()]
    host.zero_grad()
    network = host.to('cuda')
    network(images.to('cuda')).square().sum().backward()
    for parameter, grad in zip(network.parameters(), wanted, strict=True):
        assert parameter.grad.is_cuda
        torch.testing.assert_close(parameter.grad.cpu(), grad)


def test_autocast__types(sim):
    layer = torch.nn.Linear(3, 3).to('cuda')
    x = torch.rand(2, 3, device='cuda')
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast('cuda', dtype):
            assert layer(x).dtype == dtype
            assert layer(x).softmax(-1).dtype == torch.float32


def test_random_numbers__of_their_own(sim):
    """Host and device have a state each; torch.manual_seed seeds both."""
    torch.manual_seed(3)
    host, state = torch.get_rng_state(), torch.cuda.get_rng_state()
    first = torch.rand(4, device='cuda').cpu()
    assert torch.equal(torch.get_rng_state(), host)
    assert not torch.equal(torch.cuda.get_rng_state(), state)
    torch.rand(4)
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.rand(4, device='cuda').cpu(), first)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(4, device='cuda').cpu(), first)


def test_pinned_memory(sim):
    """A loader pins in a thread of its own, tensors on request."""
    assert torch.rand(3).pin_memory().is_cpu
    assert torch.empty(3, pin_memory=True).is_cpu
    for workers in (0, 1):
        loader = torch.utils.data.DataLoader(
            torch.arange(4), 2, pin_memory=True, num_workers=workers
        )
        assert [b.tolist() for b in loader] == [[0, 1], [2, 3]]


def test_sizes_without_values():
    """Memory of what is never computed."""
    with Simulator(values_up_to=100) as sim:
        layer = torch.nn.Linear(4096, 4096, bias=False).to('cuda')
        out = layer(torch.zeros(4096, 4096, device='cuda'))
        assert out.shape == (4096, 4096)
        assert sim.live >= 3 * 4 * 4096**2
        out.sum().backward()


def _attributes() -> dict[str, object]:
    """Return what a simulator may replace, by module or class and name."""
    owners = [
        module
        for name, module in sys.modules.items()
        if name.startswith(('torch.cuda', 'mmcv.ops', 'mmengine.device'))
    ]
    owners += [torch, torch.Tensor, torch._C, torch.__config__, F]
    found = {
        f'{owner.__name__}.{name}': value
        for owner in owners
        for name, value in vars(owner).items()
    }
    found['cudnn'] = torch.backends.cudnn.enabled
    future = torch.__future__
    found['overwrite'] = future.get_overwrite_module_params_on_conversion()
    return found


def test_exit__leaves_no_device():
    """Whatever runs later in this process is on a CPU, as before."""
    # What is imported on first use.
    with Simulator():
        torch.rand(2, device='cuda').sum().item()
    before = _attributes()
    with Simulator(capability=(7, 0)):
        assert torch.cuda.is_available() and torch.cuda.device_count() == 1
        assert torch.cuda.get_device_capability() == (7, 0)
        during = _attributes()
        kept = torch.nn.Linear(2, 2).to('cuda')
    after = _attributes()
    replaced = {n for n in before if during.get(n) is not before[n]}
    assert {'torch.load', 'torch.cuda.is_available', 'cudnn'} <= replaced
    assert after.keys() == before.keys()
    assert not [n for n in before if after[n] is not before[n]]
    assert not torch.cuda.is_available()
    with pytest.raises((RuntimeError, AssertionError)):
        torch.rand(2, device='cuda')
    # Backward passes work on, and so does what was on the device.
    x = torch.ones(2, requires_grad=True)
    torch.nn.Linear(2, 2)(x).sum().backward()
    assert type(x.grad) is torch.Tensor
    assert kept.to('cpu').weight.is_cpu


def test_second_device__is_refused(sim):
    with pytest.raises(RuntimeError, match='one device'), Simulator():
        pass
    assert torch.rand(2, device='cuda').is_cuda
