# SPDX-License-Identifier: Apache-2.0
"""Tables of methods: their rows, what is made for them and what they say."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS
from s4m.apis import tables
from s4m.apis.splits import value_of
from s4m.apis.table_results import (
    Results,
    describe_origin,
    fall_of,
    format_rows,
    write_between,
)
from s4m.apis.table_rows import BEDS, TABLES, Row
from s4m.apis.tables import make_run, plan, read_curves, run_all

SHAPES = BEDS['shapes']
NET = {'cityscapes/mAP': 0.1, 'cityscapes/AP@50': 0.2, 'coco/segm_mAP': 0.3}
ORIGIN = dict(commit='abc', machine='x86, 2 cores', date='2026-01-02')


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """Runs that leave their checkpoint and have a fixed AP."""
    made: list[str] = []

    def is_trained(stage, launcher):
        iters = stage.options['train_cfg.max_iters']
        return (stage.makes / f'iter_{iters}.pth').is_file()

    def run_stage(stage, launcher):
        for before in stage.needs.values():
            assert is_trained(before, launcher)
        if not is_trained(stage, launcher):
            made.append(stage.name)
            iters = stage.options['train_cfg.max_iters']
            stage.makes.mkdir(parents=True)
            (stage.makes / f'iter_{iters}.pth').touch()
        return dict(metrics=dict(student=NET, teacher={}), train_seconds=1.2)

    monkeypatch.setattr(tables, 'is_trained', is_trained)
    monkeypatch.setattr(tables, 'run_stage', run_stage)
    return made


def test_run__is_made_once_and_shared(tmp_path, trained):
    file = tmp_path / 'results.json'
    row, shared = TABLES['methods'][3], TABLES['ablation'][5]
    for same in (row, row, shared):
        for stage in same.stages(SHAPES, 100, 1, tmp_path):
            make_run(stage, SHAPES, Results(file))
    assert trained == ['s4m_teacher_shapes_5p', 's4m_shapes_5p']
    result = Results(file).get('s4m_shapes_5p/100/1')
    assert result['student'] == {'AP': 10, 'AP50': 20, 'COCO AP': 30}
    # A network that predicts nothing has no metric.
    assert result['teacher'] == {'AP': 0, 'AP50': 0, 'COCO AP': 0}
    assert result['seconds'] == 1
    assert {'commit', 'date', 'machine'} <= set(result)


def test_options__of_a_row(tmp_path):
    _, student = TABLES['methods'][3].stages(SHAPES, 100, 1, tmp_path)
    assert student.makes == tmp_path / '100/1/s4m_shapes_5p'
    cfg = student.load()
    assert cfg.model.teacher_checkpoint == (
        f'{tmp_path}/100/1/s4m_teacher_shapes_5p'
    )
    assert cfg.train_cfg.max_iters == 100 and cfg.randomness.seed == 1
    assert cfg.default_hooks.mean_teacher.burn_in == 62


def test_options__of_strategies_and_weights(tmp_path):
    by_name = {r.name: r for r in TABLES['strategies'] + TABLES['weights']}
    (stage,) = by_name['No burn-in'].stages(SHAPES, 100, 0, tmp_path)
    assert stage.load().default_hooks.mean_teacher.burn_in == 0
    (stage,) = by_name['Standard'].stages(SHAPES, 100, 0, tmp_path)
    cfg = stage.load()
    assert cfg.default_hooks.mean_teacher.burn_in == 62
    assert cfg.model.teacher_checkpoint is None
    heavy = by_name['5']
    assert heavy.run(SHAPES) == 'guided_distillation_shapes_5p_w5'
    *_, stage = heavy.stages(SHAPES, 100, 0, tmp_path)
    assert stage.makes.name == heavy.run(SHAPES)
    assert stage.load().model.semi_train_cfg.unsup_weight == 5
    # Runs that tables share have one name, others have their own.
    guided = by_name["0.5 (the configs')"]
    assert by_name['Guided'].run(SHAPES) == guided.run(SHAPES)
    assert len({r.run(SHAPES) for r in TABLES['weights']}) == 6


@pytest.mark.parametrize('name', ['student_supervised', 'refine'])
def test_options__rates_of_a_shorter_run(tmp_path, name):
    """Up in a tenth of the iterations where there is a warm-up, then to 0."""
    row = Row('', f'sskd_{name}')
    cfg = row.stages(SHAPES, 100, 0, tmp_path)[-1].load()
    length = 100 if name == 'student_supervised' else 10
    assert cfg.train_cfg.max_iters == length
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedulers = cfg.param_scheduler
    schedulers = [
        PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer))
        for s in (schedulers if isinstance(schedulers, list) else [schedulers])
    ]
    rates = []
    for _ in range(length):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == (0.01 if length == 100 else 1.0)
    top = rates.index(max(rates))
    assert top == pytest.approx(10 if length == 100 else 0, abs=1)
    assert rates[top] > 0.97
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert optimizer.param_groups[0]['lr'] == pytest.approx(0)


def test_plan__sskd_chain():
    """Each run after those that it starts from, for each seed."""
    names = ['sskd_stages', 'sskd_sampling']
    stages = plan(names, SHAPES, [0, 1], 100, Path('runs'), Results('none'))
    assert len(stages) == 2 * (7 + 3)  # fusion is stage 2
    places = [stage.makes for stage in stages]
    for number, stage in enumerate(stages):
        for before in stage.needs.values():
            assert places.index(before.makes) < number
    (refine,) = (s for s in stages if s.makes.match('1/sskd_refine_*'))
    assert refine.load().train_cfg.max_iters == 10
    assert refine.needs['load_from'].makes == Path(
        'runs/100/1/sskd_distill_shapes_5p'
    )


def test_known_teacher__without_checkpoint_is_trained_again(tmp_path, trained):
    """Results outlive their runs; a student needs the checkpoint."""
    file = tmp_path / 'results.json'
    known = {'AP': 20, 'AP50': 30, 'COCO AP': 20}
    guided = {'teacher': known, 'student': known}
    file.write_text(
        json.dumps(
            {
                'supervised_shapes_5p/8/0': {'model': known},
                'guided_distillation_shapes_5p/8/0': guided,
                'guided_distillation_same_views_shapes_5p/8/0': guided,
            }
        )
    )
    for _ in range(2):  # then all is known
        tables.make_tables(
            ['augmentation'],
            seeds=[0],
            iters=8,
            work_dir=tmp_path,
            results=file,
        )
        assert trained == [
            'supervised_shapes_5p',
            'guided_distillation_cutout_shapes_5p',
        ]


def test_run_all__begins_when_the_teacher_is_there(tmp_path):
    """A short chain does not wait for a long run beside it."""
    done = []

    def make(stage):
        assert all(b.makes in done for b in stage.needs.values())
        slow = stage.makes.match('0/sskd_student_supervised_*')
        time.sleep(0.5 if slow else 0.01)
        done.append(stage.makes)

    stages = plan(
        ['sskd_stages'], SHAPES, [0, 1], 100, tmp_path, Results('none')
    )
    run_all(stages, make, jobs=2)
    assert len(done) == 14 and len(set(done)) == 14
    assert done[-1].match('0/sskd_student_supervised_shapes_5p')


def test_table__mean_difference_and_fall(tmp_path):
    """By hand: 12 and 14 are 2 and 0 above 10 and 14."""
    results = Results(tmp_path / 'r.json')
    for run, values, best in (
        ('supervised', (10.0, 14.0), 14.0),
        ('s4m', (12.0, 14.0), 17.0),
    ):
        for seed, value in enumerate(values):
            net = {'AP': value, 'AP50': 2 * value, 'COCO AP': value}
            network = 'model' if run == 'supervised' else 'student'
            curves = {network: [(4, best), (8, value)]}
            results.put(
                f'{run}_shapes_5p/8/{seed}',
                {'seconds': 1, network: net, 'curves': curves},
            )
    text = format_rows(
        'methods', TABLES['methods'][:4], SHAPES, [0, 1, 2], 8, results
    )
    lines = text.splitlines()
    assert lines[0] == (
        '| methods | seed 0 | seed 1 | seed 2 | mean ± std | to Supervised '
        '| fall | AP50 | COCO AP |'
    )
    assert lines[2] == (
        '| Supervised | 10.0 | 14.0 | - | 12.0 ± 2.8 |  | 2.0 ± 2.8 | 24.0 '
        '| 12.0 |'
    )
    assert lines[-1] == (
        '| S4M | 12.0 | 14.0 | - | 13.0 ± 1.4 | +1.0 ± 1.4 | 4.0 ± 1.4 '
        '| 26.0 | 13.0 |'
    )
    assert lines[4] == (
        '| Guided Distillation | - | - | - | - | - | - | - | - |'
    )
    assert fall_of({'student': {}}) is None


def test_curves__of_a_log(tmp_path):
    log = tmp_path / '1/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    rows = (
        {'step': 2, 'loss': 1.0, 'pseudo_labels/per_image': 3.456},
        {'step': 4, 'student/cityscapes/mAP': 0.25, 'lr': 1},
        {'step': 4, 'teacher/cityscapes/mAP': 0.5},
    )
    log.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    assert read_curves(tmp_path, SHAPES) == {
        'pseudo_labels/per_image': [(2, 3.46)],
        'student': [(4, 25.0)],
        'teacher': [(4, 50.0)],
    }


@pytest.mark.parametrize('name', ['methods', 'remedies', 'detector'])
def test_nuclei__rows(tmp_path, name):
    nuclei = BEDS['nuclei']
    for row in TABLES[name]:
        stage = row.stages(nuclei, 100, 0, tmp_path)[-1]
        assert stage.makes.name == row.run(nuclei)
        cfg = stage.load()
        assert cfg.train_cfg.val_interval == 20
        for key, value in row.options.items():
            assert value_of(cfg, key) == value


def test_origin__names_the_rows_of_another_commit(tmp_path):
    results, rows = Results(tmp_path / 'r.json'), TABLES['methods']
    assert 'no run' in describe_origin(rows, SHAPES, [0], 8, results)
    later = dict(ORIGIN, date='2026-01-05')
    for name, origin in (
        ('supervised', ORIGIN),
        ('s4m_teacher', later),
        ('guided_distillation', dict(ORIGIN, commit='old')),
        ('s4m', {}),
    ):
        results.put(f'{name}_shapes_5p/8/0', dict(origin))
    assert describe_origin(rows, SHAPES, [0, 1], 8, results) == (
        '8 iterations; commit abc, machine x86, 2 cores, '
        'date 2026-01-02 to 2026-01-05. Not of this commit and machine: '
        'Guided Distillation, seed 0 (commit old, machine x86, 2 cores, '
        'date 2026-01-02); S4M, seed 0 (commit unknown, machine unknown, '
        'date unknown).'
    )


def test_write__old_results_are_not_dated_today(tmp_path):
    page = tmp_path / 'x.md'
    page.write_text(
        '<!-- shapes_table methods: begin -->\n'
        '<!-- shapes_table methods: end -->\n'
    )
    results = Results(tmp_path / 'r.json')
    net = {'AP': 1.0, 'AP50': 1.0, 'COCO AP': 1.0}
    results.put('s4m_shapes_5p/8/0', dict(student=net, **ORIGIN))
    tables.make_tables(
        ['methods'],
        seeds=[0],
        iters=8,
        results=results.path,
        write=page,
        report_only=True,
    )
    text = page.read_text()
    assert 'commit abc, machine x86, 2 cores, date 2026-01-02.' in text
    assert '| S4M | 1.0 |' in text


def test_results__of_two_processes(tmp_path):
    first, second = (Results(tmp_path / 'new' / 'r.json') for _ in range(2))
    first.put('a', dict(seconds=1))
    second.put('b', dict(seconds=2))
    first.put('c', dict(seconds=3))
    assert sorted(Results(first.path).data) == ['a', 'b', 'c']
    assert first.get('b') == dict(seconds=2)


def test_write_between(tmp_path):
    page = tmp_path / 'x.md'
    page.write_text('a\n<!-- t: begin -->\nold\n<!-- t: end -->\nb\n')
    write_between(page, 't', 'new')
    assert page.read_text() == (
        'a\n<!-- t: begin -->\nnew\n<!-- t: end -->\nb\n'
    )
    with pytest.raises(ValueError, match='has no'):
        write_between(page, 'u', 'new')
    reversed_markers = 'a\n<!-- t: end -->\nkeep\n<!-- t: begin -->\nb\n'
    page.write_text(reversed_markers)
    with pytest.raises(ValueError, match='has no'):
        write_between(page, 't', 'new')
    assert page.read_text() == reversed_markers
