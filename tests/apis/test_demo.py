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
