# SPDX-License-Identifier: Apache-2.0
"""Which options a stage gets, and chains that cannot be."""

from __future__ import annotations

import pytest
from s4m.apis.stages import stages_of


def test_options__go_to_the_stages_that_have_the_part():
    given = {
        'default_hooks.mean_teacher.burn_in': 2,
        'model.teacher_checkpoint': 'work_dirs/supervised_cityscapes_10p',
        'randomness.seed': 3,
    }
    first, last = stages_of('s4m_cityscapes_10p', cfg_options=given)
    assert first.name == 'supervised_cityscapes_10p'
    assert first.options == {'randomness.seed': 3}
    assert last.options == given
    assert last.needs == {'model.teacher_checkpoint': first}
    with pytest.raises(ValueError, match=r'no stage of .* has model\.refiner'):
        stages_of(
            'supervised_cityscapes_10p',
            cfg_options={'model.refiner.points_per_mask': 1},
        )


def test_stage__that_needs_itself():
    place = 'work_dirs/supervised_cityscapes_10p/iter_6.pth'
    with pytest.raises(ValueError, match='starts from itself'):
        stages_of(
            'supervised_cityscapes_10p', cfg_options={'load_from': place}
        )


def test_split__that_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no split .*seed7@33\.json'):
        stages_of('s4m_cityscapes_10p', split='seed7@33')


def test_files_from_elsewhere__are_no_stages():
    """Weights of a hub or of one's own start a run, no chain."""
    for value in (
        'https://example.org/weights.pth',
        'checkpoints/w.pth',
        'work_dirs/mine/s4m_teacher_shapes_5p',
    ):
        options = {'model.teacher_checkpoint': value}
        stages = stages_of('s4m_shapes_5p', cfg_options=options)
        assert [s.name for s in stages] == ['s4m_shapes_5p']


def test_nuclei__stages():
    """Both detectors of the example data start from their teachers."""
    for last, first in (
        ('guided_distillation_nuclei_14p', 'supervised_nuclei_14p'),
        ('s4m_nuclei_14p', 's4m_teacher_nuclei_14p'),
        (
            's4m_pr_rtmdet_ins_nuclei_14p',
            'supervised_rtmdet_ins_nuclei_14p',
        ),
        (
            'guided_distillation_rtmdet_ins_nuclei_14p',
            'supervised_rtmdet_ins_nuclei_14p',
        ),
    ):
        assert [s.name for s in stages_of(last)] == [first, last]
