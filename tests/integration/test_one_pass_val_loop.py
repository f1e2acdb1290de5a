# SPDX-License-Identifier: Apache-2.0
"""Both networks validated in one pass, against MMDet's two passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from ranks import run_ranks
from s4m.apis.gpu_check.nano_trainings import quick_configs
from semi_trainings import semi_config

LOOPS = ('TeacherStudentValLoop', 'OnePassTeacherStudentValLoop')


class Spy(Hook):
    """Keeps the metrics, and which batches and predictions hooks got."""

    def __init__(self) -> None:
        self.begun, self.shown, self.metrics = [], [], None

    def before_val_iter(self, runner, batch_idx, data_batch):
        self.begun.append(batch_idx)

    def after_val_iter(self, runner, batch_idx, data_batch, outputs):
        assert outputs[0].gt_instances is not None
        self.shown.append(outputs[0].pred_instances.scores)

    def after_val_epoch(self, runner, metrics):
        self.metrics = metrics


def _config(make) -> Config:
    cfg = semi_config(make)
    cfg.val_dataloader.update(
        batch_size=1, num_workers=0, persistent_workers=False
    )
    assert len(cfg.val_evaluator) > 1
    cfg.default_hooks.pop('drift_log', None)
    return cfg


def _validate(cfg: Config, loop: str) -> tuple[Spy, list[str]]:
    cfg = cfg.copy()
    cfg.val_cfg = dict(type=loop)
    cfg.experiment_name = loop
    torch.manual_seed(0)
    runner = Runner.from_cfg(cfg)
    runner._init_model_weights()
    model = getattr(runner.model, 'module', runner.model)
    with torch.no_grad():
        # Each network finds something else.
        for name, bias in (('teacher', 0.3), ('student', -0.3)):
            head = getattr(model, name).panoptic_head
            head.cls_embed.weight += bias * torch.randn_like(
                head.cls_embed.weight
            )
    spy = Spy()
    runner.register_hook(spy)
    loads = []
    preprocess = model.data_preprocessor.forward
    model.data_preprocessor.forward = lambda data, training: (
        loads.append(data['data_samples'][0].img_path),
        preprocess(data, training),
    )[1]
    runner.val()
    assert model.semi_test_cfg['predict_on'] == 'student'
    return spy, loads


def _rank(rank: int, config: str, folder: str) -> None:
    cfg = Config.fromfile(config)
    with quick_configs():
        metrics = [_validate(cfg, loop)[0].metrics for loop in LOOPS]
    (Path(folder) / f'{rank}.json').write_text(json.dumps(metrics))


def test_metrics__are_those_of_two_passes(shapes_config):
    cfg = _config(shapes_config)
    (two, read_twice), (one, read_once) = (
        _validate(cfg, loop) for loop in LOOPS
    )
    assert list(one.metrics) == list(two.metrics)
    assert one.metrics == two.metrics
    half = len(one.metrics) // 2
    teacher, student = (
        list(one.metrics.items())[part]
        for part in (slice(half), slice(half, None))
    )
    assert all(name.startswith('teacher/') for name, _ in teacher)
    assert [v for _, v in teacher] != [v for _, v in student]
    assert max(one.metrics.values()) > 0
    # Each image is read once, and hooks see each batch once.
    assert read_once * 2 == read_twice and len(set(read_once)) > 1
    assert one.begun == two.begun[: len(one.begun)]
    assert len(one.begun) == len(read_once)
    # They get the student's predictions, as from the last pass.
    last = two.shown[len(one.begun) :]
    for a, b in zip(one.shown, last, strict=True):
        assert torch.equal(a, b)


def test_two_processes__have_the_metrics_of_one(shapes_config, tmp_path):
    cfg = _config(shapes_config)
    alone = _validate(cfg, LOOPS[1])[0].metrics
    path = tmp_path / 'config.py'
    cfg.dump(str(path))
    run_ranks(_rank, str(path), str(tmp_path))
    for rank in (0, 1):
        two, one = json.loads((tmp_path / f'{rank}.json').read_text())
        assert one == two
        assert one == pytest.approx(alone, abs=1e-12)


def test_error__leaves_the_evaluated_network(shapes_config, monkeypatch):
    cfg = _config(shapes_config)
    cfg.val_cfg = dict(type=LOOPS[1])
    runner = Runner.from_cfg(cfg)
    monkeypatch.setattr(
        runner.model.teacher, 'predict', lambda *_, **__: 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        runner.val()
    assert runner.model.semi_test_cfg['predict_on'] == 'student'
