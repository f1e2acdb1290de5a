# SPDX-License-Identifier: Apache-2.0
"""SSKD's objective on one set of images, labelled or not."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
from contrastive_students import (
    OFF,
    build_student,
    make_batch,
    total_loss,
)
from mmdet.models.detectors import Mask2Former
from mmengine.registry import init_default_scope

JOINT = dict(joint=True, semi_weight=1.0)


@pytest.fixture
def build():
    return build_student


def test_joint__is_one_pass_of_the_plain_detector(build):
    """All images in one batch, one normaliser, plain names."""
    model = build(**JOINT)
    inputs, samples = make_batch()
    samples['unsup'][0].gt_instances = samples['unsup'][0].gt_instances[:1]
    torch.manual_seed(2)
    losses = model(inputs, samples, mode='loss')
    plain = build(**OFF)
    plain.load_state_dict(
        {
            k: v
            for k, v in model.state_dict().items()
            if not k.startswith('loss_contrast')
        }
    )
    mask2former = Mask2Former  # MMDet's class
    torch.manual_seed(2)
    rgb = torch.cat([inputs['sup'], inputs['unsup']])
    own = mask2former.loss(
        plain,
        model.data_preprocessor.normalize(rgb),
        samples['sup'] + samples['unsup'],
    )
    assert set(losses) == {*own, 'loss_contrast'}
    for key, value in own.items():
        torch.testing.assert_close(losses[key], value)


@pytest.mark.parametrize('branch', ['sup', 'unsup'])
def test_joint__a_batch_without_a_branch(build, branch):
    """Every parameter learns all the same: processes stay in step."""
    model = build(**JOINT)
    calls = []
    model.panoptic_head.register_forward_hook(lambda *_: calls.append(1))
    losses = model(*make_batch((branch,)), mode='loss')
    assert calls == [1]
    total_loss(losses).backward()
    assert all(p.grad is not None for p in model.parameters())


def _train_rank(rank: int, folder: str) -> None:
    """Two steps of a process; another one lacks a branch in each."""
    init_default_scope('mmdet')
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/store',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    model = torch.nn.parallel.DistributedDataParallel(build_student(**JOINT))
    for step in range(2):
        model.zero_grad()
        branches = ('sup', 'unsup') if rank == step else ('unsup',)
        total_loss(model(*make_batch(branches), mode='loss')).backward()
    grads = {n: p.grad for n, p in model.module.named_parameters()}
    torch.save(grads, f'{folder}/{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_joint__two_processes_that_lack_a_branch(tmp_path):
    """One pass each: they reduce the same normalisers, and none waits."""
    # MMDet is imported once, by the server that both are forked from.
    torch.multiprocessing.set_forkserver_preload(['s4m.models'])
    torch.multiprocessing.start_processes(
        _train_rank, (str(tmp_path),), nprocs=2, start_method='forkserver'
    )
    first, second = (torch.load(tmp_path / f'{i}.pth') for i in range(2))
    for name, grad in first.items():
        torch.testing.assert_close(grad, second[name])


def test_joint__annotated_objects_only_for_the_rate(build):
    model = build(**JOINT)
    model.loss_contrast.keep_statistics = True
    seen = []
    model.loss_contrast.register_forward_hook(
        lambda module, args, out: seen.append(args[5])
    )
    model(*make_batch(), mode='loss')
    (ids,) = seen
    assert ids.shape[0] == 4
    assert (ids[:2] >= 0).all() and (ids[2:] == -1).all()


def test_joint__one_weight(build):
    with pytest.raises(ValueError, match='joint=False'):
        build(joint=True, semi_weight=0.5)
