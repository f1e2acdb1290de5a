# SPDX-License-Identifier: Apache-2.0
"""Whole trainings on small data: burn-in, averaging, resume, two processes."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData


class Spy(Hook):
    """Copies of teacher and student at the start of each iteration."""

    def __init__(self) -> None:
        self.teacher, self.student, self.outputs = [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        # What the iteration used as teacher, and the student after its step.
        self.teacher.append(copy.deepcopy(runner.model.teacher.state_dict()))
        self.student.append(copy.deepcopy(runner.model.student.state_dict()))
        self.outputs.append(outputs)
        modules = list(runner.model.teacher.modules())
        assert not any(m.training for m in modules)
        assert any(m.training for m in runner.model.student.modules())


def _semi_config(make, name='guided_distillation_shapes_5p', **kwargs):
    """A small semi-supervised config without teacher file, burn-in 2."""
    cfg = make(name, **kwargs)
    cfg.model.teacher_checkpoint = None
    cfg.default_hooks.mean_teacher.update(burn_in=2, momentum=0.25)
    # A random teacher is never sure; keep some of its queries.
    cfg.model.pseudo_labeler.update(cls_thr=0.12)
    return cfg


@pytest.fixture(scope='module')
def teacher_file(shared_config, tmp_path_factory):
    """A random teacher's checkpoint."""
    from mmdet.registry import MODELS

    torch.manual_seed(7)
    model = MODELS.build(shared_config('supervised_shapes_5p').model)
    model.init_weights()
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return str(path)


def _run(cfg, *hooks) -> Runner:
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        own = type(hook).__dict__.get('priority')
        runner.register_hook(hook, priority=own or 'LOWEST')
    runner.train()
    return runner


def _equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_guided__frozen_then_copied_then_averaged(shapes_config, teacher_file):
    cfg = _semi_config(shapes_config, iters=5)
    cfg.model.teacher_checkpoint = teacher_file
    spy = Spy()
    _run(cfg, spy)
    loaded = torch.load(teacher_file)['state_dict']
    # Iterations 0 and 1: bit for bit what was loaded, buffers too.
    assert _equal(spy.teacher[0], loaded)
    assert _equal(spy.teacher[1], loaded)
    # Iteration 2: the student after two steps.
    assert _equal(spy.teacher[2], spy.student[1])
    # Then the average of the teacher and the student before this step.
    for i in (3, 4):
        moved = 0
        for key, value in spy.teacher[i].items():
            old, new = spy.teacher[i - 1][key], spy.student[i - 1][key]
            if value.is_floating_point():
                want = 0.75 * old.double() + 0.25 * new.double()
                torch.testing.assert_close(
                    value.double(), want, atol=1e-6, rtol=1e-5
                )
                moved += not torch.equal(old, value)
            else:
                assert torch.equal(value, new)
        assert moved > 50
    # BatchNorm statistics move with it.
    key = 'backbone.bn1.running_mean'
    assert not torch.equal(spy.teacher[3][key], spy.teacher[2][key])
    # The student never starts from the teacher.
    key = 'panoptic_head.cls_embed.weight'
    assert not torch.equal(spy.student[0][key], loaded[key])


def test_standard__no_unlabelled_images_during_burn_in(shapes_config):
    cfg = _semi_config(shapes_config, iters=4)
    cfg.default_hooks.mean_teacher.strategy = 'standard'
    spy = Spy()
    _run(cfg, spy)
    unsup = [any('unsup' in k for k in out) for out in spy.outputs]
    assert unsup == [False, False, True, True]
    assert _equal(spy.teacher[2], spy.student[1])


def test_fixed__teacher_never_changes(shapes_config, teacher_file):
    cfg = _semi_config(shapes_config, iters=4)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.default_hooks.mean_teacher.strategy = 'fixed'
    spy = Spy()
    _run(cfg, spy)
    loaded = torch.load(teacher_file)['state_dict']
    assert all(_equal(t, loaded) for t in spy.teacher)


def test_no_burn_in__needs_no_teacher(shapes_config):
    cfg = _semi_config(shapes_config, iters=2)
    cfg.default_hooks.mean_teacher.burn_in = 0
    cfg.model.teacher_checkpoint = 'work_dirs/never_read'
    spy = Spy()
    _run(cfg, spy)
    assert not _equal(spy.teacher[0], spy.student[0])


def test_accumulation__averages_after_optimizer_steps(shapes_config):
    cfg = _semi_config(shapes_config, iters=6)
    cfg.default_hooks.mean_teacher.update(burn_in=0)
    cfg.optim_wrapper.accumulative_counts = 2
    spy = Spy()
    _run(cfg, spy)
    key = 'panoptic_head.cls_embed.weight'
    changed = [
        not torch.equal(spy.teacher[i][key], spy.teacher[i - 1][key])
        for i in range(1, 6)
    ]
    assert changed == [False, True, False, True, False]


class Kill(Hook):
    """Stops the run as a lost machine would, after its checkpoint."""

    def __init__(self, at: int) -> None:
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        if runner.iter + 1 == self.at:
            raise KeyboardInterrupt


def _resume_config(make, teacher_file: str, workers: int):
    """Four iterations, a validation after the third."""
    cfg = _semi_config(make, iters=4)
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
        return _run(cfg).model.state_dict()

    return weights


@pytest.mark.parametrize(
    ('stop', 'workers'), [(1, 0), (2, 0), (3, 2), (3, 0), (2, 2)]
)
def test_resume__equals_an_uninterrupted_run(
    shapes_config, uninterrupted, teacher_file, stop, workers
):
    """Inside burn-in, at its end and after it; validation in between."""
    with pytest.raises(KeyboardInterrupt):
        _run(_resume_config(shapes_config, teacher_file, workers), Kill(stop))
    cfg = _resume_config(shapes_config, 'gone.pth', workers)
    cfg.resume = True
    torch.manual_seed(99)
    resumed = _run(cfg).model.state_dict()
    assert _equal(uninterrupted(workers), resumed)


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
            cfg = _semi_config(shapes_config, name)
            cfg.default_hooks.mean_teacher.burn_in = 0
        else:
            cfg = shapes_config(name)
        cfg.randomness = dict(seed=seed)
        cfg.work_dir = str(tmp_path / folder)
        cfg.default_hooks.checkpoint.interval = 1
        return cfg

    first, second, whole = Drawn(), Drawn(), Drawn()
    with pytest.raises(KeyboardInterrupt):
        _run(config('parts', None), Kill(2), first)
    cfg = config('parts', None)
    cfg.resume = True
    runner = _run(cfg, second)
    _run(config('whole', runner.seed), whole)
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
        cfg = _semi_config(shapes_config, iters=4)
        cfg.model.teacher_checkpoint = teacher_file
        cfg.work_dir = str(tmp_path / folder)
        cfg.default_hooks.checkpoint.update(interval=2, save_best='score')
        cfg.train_cfg.update(val_interval=2, val_begin=1)
        return cfg

    drawn, again = Drawn(), Drawn()
    whole = _run(config('whole'), drawn, Lottery()).model.state_dict()
    with pytest.raises(KeyboardInterrupt):
        _run(config('parts'), Kill(3), Lottery())
    cfg = config('parts')
    cfg.resume = True
    resumed = _run(cfg, again, Lottery())
    assert resumed.message_hub.get_info('best_score') == 4
    assert len(again.states) == 2
    assert torch.equal(again.states[0], drawn.states[2])
    assert _equal(whole, resumed.model.state_dict())


def _plain_file(make, path: Path, seed: int) -> str:
    """A random detector's checkpoint."""
    from mmdet.registry import MODELS

    torch.manual_seed(seed)
    model = MODELS.build(make('supervised_shapes_5p').model)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return str(path)


def test_load_from__is_the_student_beside_a_teacher_checkpoint(
    shapes_config, teacher_file, tmp_path
):
    """A checkpoint of one network fills both; the teacher keeps its own."""
    cfg = _semi_config(shapes_config, iters=2)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.load_from = _plain_file(shapes_config, tmp_path / 'plain.pth', 8)
    cfg.optim_wrapper.optimizer.lr = 0.0
    spy = Spy()
    _run(cfg, spy)
    teacher, plain = (
        torch.load(f)['state_dict'] for f in (teacher_file, cfg.load_from)
    )
    assert _equal(spy.teacher[0], teacher)
    for name in dict(plain):
        if 'running' not in name and 'batches' not in name:
            assert torch.equal(spy.student[0][name], plain[name]), name

    # A run that resumes reads neither.
    cfg = _semi_config(shapes_config, iters=3)
    cfg.model.teacher_checkpoint = 'gone.pth'
    cfg.resume = True
    again = Spy()
    _run(cfg, again)
    assert _equal(again.teacher[0], spy.student[1])  # end of burn-in


def test_load_from__is_both_without_a_teacher_checkpoint(
    shapes_config, tmp_path
):
    cfg = _semi_config(shapes_config, iters=1)
    cfg.load_from = _plain_file(shapes_config, tmp_path / 'plain.pth', 8)
    spy = Spy()
    _run(cfg, spy)
    assert _equal(spy.teacher[0], torch.load(cfg.load_from)['state_dict'])
    # A part of a teacher would label with random weights.
    state = torch.load(cfg.load_from)
    del state['state_dict']['panoptic_head.cls_embed.bias']
    torch.save(state, cfg.load_from)
    with pytest.raises(ValueError, match=r'plain\.pth does not fit'):
        _run(cfg)


def test_s4m__trains_logs_and_saves_no_segmenter(shapes_config, teacher_file):
    """The whole method; one SAM instance; nothing of it in the checkpoint."""
    from s4m.models import SAM2Segmenter

    made = []
    build = SAM2Segmenter.__init__

    def counted(self, *args, **kwargs):
        made.append(self)
        build(self, *args, **kwargs)

    cfg = _semi_config(shapes_config, 's4m_shapes_5p', iters=3)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.default_hooks.refine_log.draw_interval = 2
    spy = Spy()
    SAM2Segmenter.__init__ = counted
    try:
        runner = _run(cfg, spy)
    finally:
        SAM2Segmenter.__init__ = build
    assert len(made) == 1
    assert not list(runner.model.refiner.parameters())
    assert not runner.model.refiner._forward_hooks
    checkpoint = torch.load(f'{cfg.work_dir}/iter_3.pth', weights_only=False)
    keys = checkpoint['state_dict'].keys()
    assert all(k.startswith(('teacher.', 'student.')) for k in keys)
    num_params = sum(
        len(g['params']) for g in checkpoint['optimizer']['param_groups']
    )
    assert num_params == len(list(runner.model.student.parameters()))
    assert all(o['num_pseudo'] > 0 for o in spy.outputs)
    scalars = runner.message_hub.log_scalars
    assert 0 <= scalars['train/refine_iou'].current() <= 1
    assert scalars['train/refine_kept'].current() == 1
    pictures = Path(cfg.work_dir).rglob('*.png')
    assert any('pseudo_labels' in p.name for p in pictures)


def test_training_step__edge_cases(shapes_config, teacher_file):
    """A batch without pseudo-labels, an image without objects, batch of 1."""
    cfg = _semi_config(shapes_config, 's4m_shapes_5p', iters=1)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.model.pseudo_labeler.cls_thr = 1.0
    cfg.train_dataloader.batch_size = 2
    cfg.train_dataloader.sampler.update(num_labeled=1, num_unlabeled=1)

    class Empty(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch):
            for sample in data_batch['data_samples']['sup']:
                if sample is not None:
                    sample.gt_instances = sample.gt_instances[:0]

    spy = Spy()
    _run(cfg, Empty(), spy)
    out = spy.outputs[0]
    assert out['num_pseudo'] == 0
    assert torch.isfinite(torch.stack(list(out.values()))).all()


def test_refine_log__only_watches(shapes_config, teacher_file):
    """A run without the log has the same losses."""
    outputs = []
    for watched in (True, False):
        cfg = _semi_config(shapes_config, 's4m_shapes_5p', iters=2)
        cfg.model.teacher_checkpoint = teacher_file
        if not watched:
            del cfg.default_hooks.refine_log
        spy = Spy()
        _run(cfg, spy)
        outputs.append(spy.outputs)
    for a, b in zip(*outputs, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_missing_hook__first_step_names_it(shapes_config, teacher_file):
    cfg = _semi_config(shapes_config, iters=1)
    del cfg.default_hooks.mean_teacher
    with pytest.raises(RuntimeError, match='BurnInMeanTeacherHook'):
        _run(cfg)


def test_missing_teacher__names_the_command(shapes_config, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = _semi_config(shapes_config, iters=1)
    cfg.model.teacher_checkpoint = 'work_dirs/s4m_teacher_shapes_5p_none'
    with pytest.raises(FileNotFoundError, match='Train the teacher first'):
        _run(cfg)
    cfg.model.teacher_checkpoint = None
    with pytest.raises(ValueError, match='teacher_checkpoint'):
        _run(cfg)


def test_autocast__costs_losses_and_pixel_decoder_are_fp32(shapes_config):
    """bf16 around, fp32 inside; the loss stays near the fp32 one."""
    from mmdet.registry import MODELS

    cfg = shapes_config('supervised_shapes_5p')
    model = MODELS.build(cfg.model)
    seen = []
    model.panoptic_head.pixel_decoder.register_forward_hook(
        lambda _m, _a, out: seen.append(out[0].dtype)
    )
    cost = model.panoptic_head.assigner.match_costs[1]
    forward = type(cost).__call__

    def spy_cost(self, pred_instances, gt_instances, **kwargs):
        seen.append(pred_instances.masks.dtype)
        assert not torch.is_autocast_enabled('cpu')
        return forward(self, pred_instances, gt_instances, **kwargs)

    type(cost).__call__ = spy_cost
    from mmdet.structures import DetDataSample

    sample = DetDataSample(
        metainfo=dict(img_shape=(64, 128), batch_input_shape=(64, 128))
    )
    sample.gt_instances = InstanceData(
        labels=torch.tensor([1]),
        masks=torch.ones(1, 64, 128, dtype=torch.bool),
    )
    try:
        with torch.autocast('cpu', torch.bfloat16):
            losses = model.loss(torch.randn(1, 3, 64, 128), [sample])
    finally:
        type(cost).__call__ = forward
    assert set(seen) == {torch.float32}
    assert all(v.dtype == torch.float32 for v in losses.values())
    sum(losses.values()).backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in grads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_amp__on_a_gpu(shapes_config, teacher_file, dtype):
    cfg = _semi_config(shapes_config, 's4m_shapes_5p', iters=3)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=dtype)
    spy = Spy()
    _run(cfg, spy)
    assert all(torch.isfinite(v) for o in spy.outputs for v in o.values())


def test_two_processes__equal_weights_on_both_ranks(
    shapes_config, teacher_file, tmp_path
):
    """tools/dist_train.sh with two gloo processes, without a GPU."""
    cfg = _semi_config(shapes_config, 's4m_shapes_5p', iters=3)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.custom_imports.imports.append('rank_spy')
    cfg.custom_hooks = [dict(type='RankSpy', folder=str(tmp_path))]
    path = tmp_path / 'dist.py'
    cfg.dump(str(path))
    (tmp_path / 'rank_spy.py').write_text(
        'import random\n'
        'import numpy as np\n'
        'import torch\n'
        'from mmdet.registry import HOOKS\n'
        'from mmengine.hooks import Hook\n'
        'from mmengine.dist import get_rank\n'
        # Takes longer than the training.
        'import yapf.yapflib.yapf_api as api\n'
        'api.FormatCode = lambda text, **_: (text, False)\n'
        '@HOOKS.register_module()\n'
        'class RankSpy(Hook):\n'
        '    def __init__(self, folder):\n'
        '        self.folder = folder\n'
        '    def save(self, what, name):\n'
        '        torch.save(what, f"{self.folder}/{name}{get_rank()}.pt")\n'
        '    def before_train_iter(self, runner, batch_idx, data_batch):\n'
        '        if batch_idx:\n'
        '            return\n'
        # What the first iteration would draw, from equal input.
        '        model, state = runner.model.module, torch.get_rng_state()\n'
        '        pixels = torch.arange(2 * 3 * 32 * 32) % 256.0\n'
        '        view = model.strong_augment(pixels.view(2, 3, 32, 32))\n'
        '        torch.set_rng_state(state)\n'
        '        weights = model.state_dict()\n'
        '        self.save(dict(\n'
        '            weights={k: v.clone() for k, v in weights.items()},\n'
        '            states=[random.getstate()[1], state.tolist(),\n'
        '                np.random.get_state()[1].tolist()],\n'
        '            view=view,\n'
        '            seed=runner.train_dataloader.sampler.seed), "first")\n'
        '    def after_train(self, runner):\n'
        '        state = dict(runner.model.module.named_parameters())\n'
        '        state = {k: v.detach() for k, v in state.items()}\n'
        '        self.save(state, "rank")\n'
    )
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = dict(
        os.environ,
        PORT=str(port),
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='',
        PYTHONPATH=str(tmp_path),
        PATH=f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}',
    )
    subprocess.run(
        ['bash', str(ROOT / 'tools/dist_train.sh'), str(path), '2'],
        check=True,
        env=env,
        cwd=tmp_path,
        timeout=300,
    )
    one, two = (torch.load(tmp_path / f'rank{r}.pt') for r in (0, 1))
    assert _equal(one, two)
    loaded = torch.load(teacher_file)['state_dict']
    key = 'student.panoptic_head.cls_embed.weight'
    assert not torch.equal(one[key], loaded[key.removeprefix('student.')])
    checkpoint = torch.load(f'{cfg.work_dir}/iter_3.pth', weights_only=False)
    assert len(checkpoint['random_states']) == 2
    # Equal networks and one order of images, but each rank's own draws.
    one, two = (torch.load(tmp_path / f'first{r}.pt') for r in (0, 1))
    assert _equal(one['weights'], two['weights'])
    assert one['seed'] == two['seed']
    for a, b in zip(one['states'], two['states'], strict=True):
        assert a != b
    assert not torch.equal(one['view'], two['view'])
