# SPDX-License-Identifier: Apache-2.0
"""A resumed training equals one that nothing interrupted."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from mmengine.hooks import Hook
from semi_trainings import equal, run, semi_config


class Kill(Hook):
    """Stops the run as a lost machine would, after its checkpoint."""

    def __init__(self, at: int) -> None:
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        if runner.iter + 1 == self.at:
            raise KeyboardInterrupt


def _resume_config(make, teacher_file: str, workers: int):
    """Four iterations, a validation after the third."""
    cfg = semi_config(make, iters=4)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.train_dataloader.num_workers = workers
    cfg.default_hooks.checkpoint.interval = 1
    cfg.train_cfg.update(val_interval=3, val_begin=1)
    return cfg


@pytest.fixture(scope='module')
def uninterrupted(shared_config, teacher_file):
    """Weights after a whole run, by the number of loading processes."""

    @cache
    def weights(workers: int) -> dict:
        cfg = _resume_config(shared_config, teacher_file, workers)
        cfg.work_dir += f'_{workers}_workers'
        return run(cfg).model.state_dict()

    return weights


@pytest.mark.parametrize(('stop', 'workers'), [(1, 0), (2, 0), (3, 1)])
def test_resume__equals_an_uninterrupted_run(
    shapes_config, uninterrupted, teacher_file, stop, workers
):
    """Inside burn-in, at its end and after it; validation in between."""
    with pytest.raises(KeyboardInterrupt):
        run(_resume_config(shapes_config, teacher_file, workers), Kill(stop))
    cfg = _resume_config(shapes_config, 'gone.pth', workers)
    cfg.resume = True
    torch.manual_seed(99)
    resumed = run(cfg).model.state_dict()
    assert equal(uninterrupted(workers), resumed)


class Drawn(Hook):
    """Images of each iteration, the state of torch's generator before it."""

    def __init__(self) -> None:
        self.images, self.states = [], []

    def before_train_iter(self, runner, batch_idx, data_batch):
        samples = data_batch['data_samples']
        if isinstance(samples, dict):
            samples = [s for branch in samples.values() for s in branch if s]
        self.images.append([sample.img_id for sample in samples])
        self.states.append(torch.get_rng_state())


@pytest.mark.parametrize(
    'name', ['guided_distillation_shapes_5p', 'supervised_shapes_5p']
)
def test_resume__without_a_seed_draws_the_same_images(
    shapes_config, name, tmp_path
):
    """An order that no config names is in the checkpoint."""

    def config(folder: str, seed: int | None):
        if name.startswith('guided'):
            cfg = semi_config(shapes_config, name)
            cfg.default_hooks.mean_teacher.burn_in = 0
        else:
            cfg = shapes_config(name)
        cfg.randomness = dict(seed=seed)
        cfg.work_dir = str(tmp_path / folder)
        cfg.default_hooks.checkpoint.interval = 1
        return cfg

    first, second, whole = Drawn(), Drawn(), Drawn()
    with pytest.raises(KeyboardInterrupt):
        run(config('parts', None), Kill(2), first)
    cfg = config('parts', None)
    cfg.resume = True
    runner = run(cfg, second)
    run(config('whole', runner.seed), whole)
    assert first.images + second.images == whole.images
    assert len(first.images) == len(second.images) == 2


class Lottery(Hook):
    """A validation that draws, and is better each time."""

    priority = 'VERY_HIGH'

    def after_val_iter(self, runner, batch_idx, data_batch, outputs):
        torch.rand(3)

    def after_val_epoch(self, runner, metrics):
        metrics['score'] = float(runner.iter)


def test_resume__after_a_new_best_equals_an_uninterrupted_run(
    shapes_config, teacher_file, tmp_path
):
    """MMEngine saves the last checkpoint again, after the validation."""

    def config(folder: str):
        cfg = semi_config(shapes_config, iters=4)
        cfg.model.teacher_checkpoint = teacher_file
        cfg.work_dir = str(tmp_path / folder)
        cfg.default_hooks.checkpoint.update(interval=2, save_best='score')
        cfg.train_cfg.update(val_interval=2, val_begin=1)
        return cfg

    drawn, again = Drawn(), Drawn()
    whole = run(config('whole'), drawn, Lottery()).model.state_dict()
    with pytest.raises(KeyboardInterrupt):
        run(config('parts'), Kill(3), Lottery())
    cfg = config('parts')
    cfg.resume = True
    resumed = run(cfg, again, Lottery())
    assert resumed.message_hub.get_info('best_score') == 4
    assert len(again.states) == 2
    assert torch.equal(again.states[0], drawn.states[2])
    assert equal(whole, resumed.model.state_dict())
