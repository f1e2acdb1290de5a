# SPDX-License-Identifier: Apache-2.0
"""Stages of the demo."""

from __future__ import annotations

from pathlib import Path

from s4m.apis.demo import ORDER, demo_stages


def test_stages__two_chains():
    stages = demo_stages(Path('work_dirs/demo'), 16, 3)
    assert set(stages) == set(ORDER)
    assert stages['S4M'].needs == {
        'model.teacher_checkpoint': stages['S4M teacher']
    }
    guided = stages['Guided Distillation'].load()
    assert guided.model.teacher_checkpoint == (
        'work_dirs/demo/supervised_shapes_5p'
    )
    assert guided.randomness.seed == 3 and guided.train_cfg.max_iters == 16
    assert guided.default_hooks.mean_teacher.burn_in == 10


def test_stages__validate_few_images_and_test_all():
    """Five times in a training; the smoke test once."""
    for count, interval in ((5, 160), (1, 800)):
        stages = demo_stages(Path('work_dirs/demo'), 800, 0, count)
        for stage in stages.values():
            cfg = stage.load()
            assert cfg.train_cfg.val_interval == interval
            assert cfg.train_cfg.val_begin == interval
            assert cfg.val_dataloader.dataset.indices == 50
            assert 'indices' not in cfg.test_dataloader.dataset
    assert stages['S4M'].load().val_cfg.type == 'OnePassTeacherStudentValLoop'
