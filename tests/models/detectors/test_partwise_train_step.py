# SPDX-License-Identifier: Apache-2.0
"""One backward pass a part: the gradients of the whole, in less memory."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData

BRANCHES = ('sup', 'unsup_teacher', 'unsup_student')


@pytest.fixture(scope='module')
def model(shared_config):
    cfg = shared_config('guided_distillation_shapes_5p').model
    cfg.teacher_checkpoint = None
    # A random teacher is never sure; keep some of its queries.
    cfg.pseudo_labeler.update(cls_thr=0.12)
    torch.manual_seed(3)
    model = MODELS.build(cfg)
    model.init_weights()
    model.unsup_weight = 2.0
    return model.train()


def _batch(seed: int) -> dict:
    """A batch of the loader, two images a branch."""
    generator = torch.Generator().manual_seed(seed)
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[0, 8:40, 10:30] = 1
    masks = BitmapMasks(mask, 64, 64)
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64)))
    sample.gt_instances = InstanceData(labels=torch.tensor([1]), masks=masks)
    shape = (3, 64, 64)
    return dict(
        inputs={
            branch: [
                torch.randint(0, 256, shape, generator=generator).byte()
                for _ in range(2)
            ]
            for branch in BRANCHES
        },
        data_samples={
            branch: [copy.deepcopy(sample) for _ in range(2)]
            for branch in BRANCHES
        },
    )


def _train(model, step, steps: int = 1, **wrapper) -> tuple[list, list]:
    """Logged values and gradients before each optimizer step."""
    model = copy.deepcopy(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optim = OptimWrapper(torch.optim.SGD(trained, lr=0.1), **wrapper)
    optim.initialize_count_status(model, 0, steps)
    gradients: list = []
    optim.optimizer.register_step_pre_hook(
        lambda *_: gradients.append([p.grad.clone() for p in trained])
    )
    logs = []
    for number in range(steps):
        torch.manual_seed(number)
        logs.append(step(model, _batch(number), optim))
    return logs, gradients


def _close(got: tuple[list, list], want: tuple[list, list]) -> None:
    """Equal up to the order of sums."""
    for a, b in zip(got[0], want[0], strict=True):
        assert next(iter(a)) == next(iter(b)) == 'loss'
        torch.testing.assert_close(dict(a), dict(b), rtol=1e-4, atol=1e-5)
    assert len(got[1]) == len(want[1])
    for a, b in zip(got[1], want[1], strict=True):
        scale = max(float(g.abs().max()) for g in b)
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * scale)


def test_gradients__of_one_pass(model):
    """MMEngine's own step adds all losses first."""
    ours = _train(model, type(model).train_step)
    _close(ours, _train(model, BaseModel.train_step))
    assert ours[0][0]['num_pseudo'] > 0
    assert any(key.startswith('unsup_') for key in ours[0][0])


def test_accumulation__an_iteration_counts_once(model):
    ours = _train(model, type(model).train_step, 4, accumulative_counts=2)
    whole = _train(model, BaseModel.train_step, 4, accumulative_counts=2)
    assert len(ours[1]) == len(whole[1]) == 2
    # Later steps start from weights that differ in rounding.
    first = [(logs[:2], gradients[:1]) for logs, gradients in (ours, whole)]
    _close(*first)


def test_graph__is_gone_before_the_next_part(model):
    """The labelled images' gradients are there when the teacher labels."""
    model = copy.deepcopy(model)
    label, seen = model.pseudo_label, []

    def pseudo_label(*args):
        seen.append([p.grad is not None for p in model.student.parameters()])
        return label(*args)

    model.pseudo_label = pseudo_label
    trained = [p for p in model.parameters() if p.requires_grad]
    optim = OptimWrapper(torch.optim.SGD(trained, lr=0.1))
    model.train_step(_batch(0), optim)
    assert all(seen[0])
    assert optim._inner_count == 1


def test_labelled_only__has_one_part(model):
    model = copy.deepcopy(model)
    model.unsup_weight = 0.0
    ours = _train(model, type(model).train_step)
    _close(ours, _train(model, BaseModel.train_step))
    assert not any(key.startswith('unsup_') for key in ours[0][0])
