# SPDX-License-Identifier: Apache-2.0
"""The table runner, the phase benchmark and the pseudo-label comparison."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pytest
import runs
import shapes_table
import torch
from benchmark_step import COMPARISONS, added_memory_mib, benchmark
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.structures import InstanceData
from pseudo_label_quality import (
    Comparison,
    best_overlap,
    measure,
    unlabeled,
)
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


def test_benchmark__phases_of_s4m(shapes_config):
    cfg = shapes_config('s4m_shapes_5p')
    result = benchmark(cfg, iters=2, warmup=1)
    phases = result['phases']
    assert {
        'data wait',
        'teacher',
        'SAM encode',
        'SAM decode',
        'copy paste',
        'strong augment',
        'student forward',
        'backward',
        'optimiser',
        'EMA',
        'other',
        'whole step',
    } == set(phases)
    parts = sum(v['ms'] for k, v in phases.items() if k != 'whole step')
    assert parts == pytest.approx(phases['whole step']['ms'], abs=1)
    assert result['peak_mib'] > 0


@pytest.mark.parametrize('name', ['pr', 'sd', 'arp', 'gd', 'pxl'])
def test_compare__runs(name, nano_segmenter):
    rows = COMPARISONS[name](
        segmenter=nano_segmenter,
        size=(64, 128),
        repeats=1,
        device='cpu',
        num_points=8,
        gd_config=ROOT
        / 'configs/guided_distillation/guided_distillation_shapes_5p.py',
    )
    assert len(rows) == dict(gd=2, pxl=4).get(name, 3)
    assert all(r['ms'] > 0 and r['peak_mib'] >= 0 for r in rows.values())


def test_added_memory__of_tensors():
    def grow_and_shrink():
        block = torch.ones(64, 2**20, dtype=torch.uint8)  # 64 MiB
        block = block + block  # 128 MiB until the first is gone
        return block[:1].clone()

    assert added_memory_mib(lambda: None) == 0
    assert added_memory_mib(grow_and_shrink) == pytest.approx(128, abs=0.1)


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


def test_best_overlap__hand_computed():
    objects = torch.zeros(2, 1, 6, dtype=torch.bool)
    objects[0, 0, :2] = objects[1, 0, 3:] = True
    masks = torch.zeros(3, 1, 6, dtype=torch.bool)
    masks[0, 0, 1:4] = masks[1, 0, 3:5] = masks[2, 0, 2] = True
    iou, index = best_overlap(masks, objects)
    assert iou.tolist() == pytest.approx([1 / 4, 2 / 3, 0])
    assert index.tolist() == [0, 1, -1]
    iou, index = best_overlap(masks, objects[:0])
    assert iou.tolist() == [0, 0, 0] and index.tolist() == [-1, -1, -1]


def test_comparison__oracles_hand_computed():
    """Two objects; one label has the wrong class, one a poor mask."""
    objects = torch.zeros(2, 20, 40, dtype=torch.bool)
    objects[0, 2:12, 2:12] = objects[1, 2:12, 22:32] = True
    teacher = objects.clone()
    teacher[1, 2:12, 27:] = False  # half of it: IoU 0.5
    refined = objects.clone()
    refined[1, 2:12, 30:] = False  # IoU 0.8
    item = InstanceData(
        labels=torch.tensor([1, 1]), scores=torch.tensor([0.9, 0.8])
    )
    comparison = Comparison(('a', 'b'))
    crowds = np.zeros((0, 20, 40))
    labels = torch.tensor([0, 1])
    comparison.add(item, teacher, refined, labels, objects, crowds)
    figures = comparison.figures()
    assert figures['class_accuracy'] == 50
    assert figures['teacher_mask_iou'] == 75
    assert figures['refined_mask_iou'] == 90
    # Rows: objects of a and b, nothing; columns: labels a and b.
    assert figures['confusion'] == [[0, 1], [0, 1], [0, 0]]
    assert figures['per_class']['a']['class_accuracy'] == 0
    ap = figures['mask_ap']
    # Class a is never found; b's best label is wrong, so its precision is
    # one half at each IoU that its mask reaches: 7 of 10 after refinement.
    assert ap['teacher_classes_true_masks'] == pytest.approx(25, abs=0.1)
    assert ap['teacher_classes_refined_masks'] == pytest.approx(17.5, abs=0.1)
    assert ap['teacher_classes_teacher_masks'] == pytest.approx(2.5, abs=0.1)
    # With the right classes a is perfect and b reaches 7 of 10.
    assert ap['true_classes_refined_masks'] == pytest.approx(85, abs=0.1)


def test_quality__labelled_images_are_left_out(
    shapes_config, shapes_root, tmp_path
):
    from mmdet.registry import MODELS

    cfg = shapes_config('s4m_shapes_5p')
    model = MODELS.build(shapes_config('supervised_shapes_5p').model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 't.pth')
    cfg.model.teacher_checkpoint = str(tmp_path / 't.pth')
    cfg.model.pseudo_labeler.cls_thr = 0.0
    truth = 'annotations/instancesonly_filtered_gtFine_train.json'
    figures, pictures = measure(cfg, str(shapes_root / truth), 2)
    labeled = json.loads(
        (shapes_root / 'annotations/semi/seed0@5.json').read_text()
    )
    assert figures['images'] == 12 - len(labeled['images'])
    assert figures['pseudo_labels'] > 0
    assert 0 <= figures['refined_mask_iou'] <= 100
    assert all(v >= 0 for v in figures['mask_ap'].values())
    assert all(p.shape == (64, 3 * 128, 3) for p in pictures)


def test_quality__names_that_end_alike(coco_file):
    """The same image is the same path: 11.jpg is not 1.jpg."""
    from mmdet.datasets import CocoDataset

    names = ['1.jpg', '11.jpg', 'b/1.jpg', '2.jpg']
    data = dict(
        images=[
            dict(id=i, file_name=name, height=9, width=9)
            for i, name in enumerate(names)
        ],
        annotations=[],
        categories=[dict(id=1, name='a')],
    )
    dataset = CocoDataset(
        ann_file=coco_file(data),
        data_root='data/x/',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=('a',)),
        test_mode=True,
    )
    few = dict(data, images=[data['images'][0], data['images'][3]])
    assert unlabeled(dataset, Path(coco_file(few, 'labeled.json'))) == [1, 2]
