# SPDX-License-Identifier: Apache-2.0
"""The table runner."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pytest
import runs
import shapes_table
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from shapes_table import ROWS, TABLES, Results, table, write_between


def test_tables__name_configs_that_exist():
    for rows in TABLES.values():
        for row in rows:
            assert (runs.ROOT / 'configs' / row.config).is_file()


def test_make_run__is_made_once_and_shared(tmp_path, monkeypatch):
    calls = []

    def fake(config, work_dir, iters, options, both):
        assert both
        calls.append((config, work_dir, options))
        net = {'cityscapes/mAP': 0.1, 'cityscapes/AP@50': 0.2}
        net['coco/segm_mAP'] = 0.3
        return dict(metrics=dict(student=net, teacher=net), train_seconds=1)

    monkeypatch.setattr(runs, 'train_and_test', fake)
    file = tmp_path / 'results.json'
    results = Results(file)
    row = TABLES['methods'][3]
    for _ in range(2):
        shapes_table.make_run(row, 1, 100, tmp_path, results)
    shared = TABLES['ablation'][5]
    shapes_table.make_run(shared, 1, 100, tmp_path, Results(file))
    assert len(calls) == 1
    _, work_dir, options = calls[0]
    assert work_dir == tmp_path / '100/1/s4m_shapes_5p'
    teacher = options['model.teacher_checkpoint']
    assert teacher == tmp_path / '100/1/s4m_teacher_shapes_5p'
    assert options['train_cfg.max_iters'] == 100
    assert options['default_hooks.mean_teacher.burn_in'] == 62


def test_options__of_strategies_and_weights(tmp_path):
    by_name = {r.name: r for r in TABLES['strategies'] + TABLES['weights']}
    no_burn_in = by_name['No burn-in'].options(100, tmp_path)
    assert not any('burn_in' in k or 'teacher' in k for k in no_burn_in)
    standard = by_name['Standard'].options(100, tmp_path)
    assert standard['default_hooks.mean_teacher.burn_in'] == 62
    assert 'model.teacher_checkpoint' not in standard
    heavy = by_name['5']
    assert heavy.run == 'guided_distillation_shapes_5p_w5'
    options = heavy.options(100, tmp_path)
    assert options['model.semi_train_cfg.unsup_weight'] == 5
    # Runs that tables share have one name, others have their own.
    assert by_name['Guided'].run == by_name["0.5 (the configs')"].run
    assert len({r.run for r in TABLES['weights']}) == 5


def test_table__mean_and_deviation(tmp_path):
    results = Results(tmp_path / 'r.json')
    for seed, value in ((0, 10.0), (1, 14.0)):
        net = {'AP': value, 'AP50': 2 * value, 'COCO AP': value}
        results.put(f's4m_shapes_5p/8/{seed}', dict(seconds=1, student=net))
    lines = table('methods', [0, 1, 2], 8, results).splitlines()
    want = '| S4M | 10.0 | 14.0 | - | 12.0 ± 2.8 | 24.0 | 12.0 |'
    assert lines[-1] == want
    assert lines[2] == '| Supervised | - | - | - | - | - | - |'


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


def test_train_and_test__failure_shows_the_log(tmp_path):
    with pytest.raises(RuntimeError, match='does not exist'):
        runs.train_and_test('configs/none.py', tmp_path / 'x', 1)


def test_train_and_test__done_is_done(tmp_path):
    (tmp_path / 'metrics.json').write_text('{"metrics": {}}')
    assert runs.train_and_test('configs/none.py', tmp_path, 1) == dict(
        metrics={}
    )


def test_main__known_teacher_without_checkpoint_is_trained_again(
    tmp_path, monkeypatch
):
    """Results outlive their runs; a student needs the checkpoint."""
    trained = []

    def fake(config, folder, iters, options, both):
        trained.append(folder.name)
        folder.mkdir(parents=True)
        (folder / f'iter_{iters}.pth').touch()
        teacher = options.get('model.teacher_checkpoint')
        if teacher is not None:
            assert (teacher / f'iter_{iters}.pth').is_file()
        metrics = {'cityscapes/mAP': 0.2, 'cityscapes/AP@50': 0.3}
        metrics['coco/segm_mAP'] = 0.2
        nets = ('teacher', 'student') if both else ('model',)
        return dict(metrics=dict.fromkeys(nets, metrics), train_seconds=1)

    monkeypatch.setattr(shapes_table.runs, 'train_and_test', fake)
    results = tmp_path / 'results.json'
    known = dict(AP=20, AP50=30)
    known['COCO AP'] = 20
    guided = {'teacher': known, 'student': known}
    results.write_text(
        json.dumps(
            {
                'supervised_shapes_5p/8/0': {'model': known},
                'guided_distillation_shapes_5p/8/0': guided,
                'guided_distillation_same_views_shapes_5p/8/0': guided,
            }
        )
    )
    command = ['--iters', '8', '--seeds', '0', '--tables', 'augmentation']
    command += ['--work-dir', str(tmp_path), '--results', str(results)]
    monkeypatch.setattr('sys.argv', ['shapes_table.py', *command])
    shapes_table.main()
    assert trained == [
        'supervised_shapes_5p',
        'guided_distillation_cutout_shapes_5p',
    ]
    shapes_table.main()  # all known: the teacher is not needed
    assert len(trained) == 2


def test_plan__sskd_chain():
    """Each run after its teacher; what others start from keeps its files."""
    jobs = shapes_table.plan(
        ['sskd_stages', 'sskd_sampling'], [0, 1], 100, Results(Path('none'))
    )
    order = list(jobs)
    assert len(order) == 2 * (7 + 3)  # fusion is stage 2
    for (run, seed), (row, starts_others) in jobs.items():
        if row.before is not None:
            before = row.before, seed
            assert order.index(before) < order.index((run, seed))
            assert jobs[before][1]
        assert starts_others == any(r.before == run for r, _ in jobs.values())
    row, _ = jobs['sskd_refine_shapes_5p', 1]
    options = row.options(100, Path('runs'))
    assert options['train_cfg.max_iters'] == 10
    assert options['load_from'] == Path(
        'runs/sskd_distill_shapes_5p/iter_100.pth'
    )


@pytest.mark.parametrize('stage', ['student_supervised', 'refine'])
def test_options__rates_of_a_shorter_run(tmp_path, stage):
    """Up in a tenth of the iterations where there is a warm-up, then to 0."""
    row = ROWS[f'sskd_{stage}_shapes_5p']
    options = row.options(100, tmp_path)
    cfg = Config.fromfile(ROOT / 'configs' / row.config)
    cfg.merge_from_dict(options)
    length = 100 if stage == 'student_supervised' else 10
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


def test_make_all__begins_when_the_teacher_is_there(monkeypatch, tmp_path):
    """A short chain does not wait for a long run beside it."""
    done = []

    def fake(row, seed, *_):
        before = (row.before, seed)
        assert row.before is None or before in done
        slow = 'student_supervised' in row.run and seed == 0
        time.sleep(0.5 if slow else 0.01)
        done.append((row.run, seed))

    monkeypatch.setattr(shapes_table, 'make_run', fake)
    args = argparse.Namespace(
        tables=['sskd_stages'], seeds=[0, 1], iters=100, jobs=2
    )
    shapes_table.make_all(args, tmp_path, Results(tmp_path / 'r.json'))
    assert len(done) == 14 and len(set(done)) == 14
    assert done[-1] == ('sskd_student_supervised_shapes_5p', 0)
