# SPDX-License-Identifier: Apache-2.0
"""The chain of stages, what it skips and what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import generate_pseudo_labels
import pytest
import run_experiment
import torch


def _make_labels(command: list[str]) -> None:
    """A file as tools/generate_pseudo_labels.py leaves it."""
    if command[2].isdigit():  # a number of GPUs
        del command[2]
    args = generate_pseudo_labels.parse_args(command)
    annotations = [dict(id=1, image_id=1, category_id=24, score=0.5)]
    digest = generate_pseudo_labels.annotations_digest(annotations)
    settings = generate_pseudo_labels.make_settings(args, run_experiment.ROOT)
    info = dict(annotations_sha256=digest, **settings)
    args.out.write_text(json.dumps(dict(info=info, annotations=annotations)))


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Commands instead of runs; training and testing leave their files."""
    (tmp_path / 'configs').symlink_to(run_experiment.ROOT / 'configs')
    monkeypatch.setattr(run_experiment, 'ROOT', tmp_path)
    made: list[list[str]] = []

    def fake(command, cwd):
        made.append(command)
        if 'generate' in command[1]:
            _make_labels(command[2:])
            return 0
        work_dir = Path(command[command.index('--work-dir') + 1])
        if 'train' in command[1]:
            work_dir.mkdir(parents=True)
            torch.save(len(made), work_dir / 'iter_6.pth')
            last = work_dir / 'last_checkpoint'
            last.write_text(str(work_dir / 'iter_6.pth'))
        else:
            net = {'cityscapes/mAP': 0.25, 'coco/segm_mAP': 0.5}
            both = '--model' in command
            names = ('teacher', 'student') if both else ('model',)
            target = Path(command[command.index('--json') + 1])
            target.write_text(json.dumps({n: net for n in names}))
        return 0

    monkeypatch.setattr(run_experiment.subprocess, 'call', fake)
    return made


def _run(monkeypatch, *args: str) -> None:
    options = ('--cfg-options', 'train_cfg.max_iters=6')
    command = ['run_experiment.py', *args, *options]
    monkeypatch.setattr(sys, 'argv', command)
    run_experiment.main()


def test_chain__teacher_student_tests_and_table(calls, monkeypatch, capsys):
    _run(monkeypatch, 's4m', 'shapes', '5', '1', '--amp')
    what = [(c[1], Path(c[2]).stem) for c in calls]
    assert what == [
        ('tools/train.py', 's4m_teacher_shapes_5p'),
        ('tools/test.py', 's4m_teacher_shapes_5p'),
        ('tools/train.py', 's4m_shapes_5p'),
        ('tools/test.py', 's4m_shapes_5p'),
    ]
    assert all('train_cfg.max_iters=6' in c for c in calls)
    assert '--resume' in calls[0] and '--amp' in calls[0]
    assert calls[3][calls[3].index('--model') + 1] == 'both'
    out = capsys.readouterr().out
    assert 's4m_shapes_5p (student)' in out and '25.00' in out

    calls.clear()
    _run(monkeypatch, 's4m', 'shapes', '5', '1')
    assert calls == []
    assert '25.00' in capsys.readouterr().out


def test_chain__several_gpus_and_backbone(calls, monkeypatch):
    _run(
        monkeypatch,
        *('guided_distillation', 'cityscapes', '10', '4'),
        *('--backbone', 'swin_l'),
    )
    assert [c[1] for c in calls] == [
        'tools/dist_train.sh',
        'tools/dist_test.sh',
    ] * 2
    assert [c[3] for c in calls[::2]] == ['4', '4']
    assert Path(calls[0][2]).stem == 'supervised_swin_l_cityscapes_10p'
    # tools/dist_test.sh CONFIG CHECKPOINT GPUS
    assert calls[1][4] == '4'


def test_chain__sskd_in_three_stages(calls, monkeypatch):
    """Each teacher's pseudo-labels before the stage that learns from them."""
    _run(monkeypatch, 'sskd', 'cityscapes', '10', '4')
    what = [
        (Path(c[1]).stem.removeprefix('dist_'), Path(c[2]).stem) for c in calls
    ]
    stem = '_cityscapes_10p'
    assert what == [
        ('train', 'sskd_teacher_adapt' + stem),
        ('test', 'sskd_teacher_adapt' + stem),
        ('generate_pseudo_labels', 'sskd_teacher_adapt' + stem),
        ('train', 'sskd_teacher_selftrain' + stem),
        ('test', 'sskd_teacher_selftrain' + stem),
        ('generate_pseudo_labels', 'sskd_teacher_selftrain' + stem),
        ('train', 'sskd_distill' + stem),
        ('test', 'sskd_distill' + stem),
        ('train', 'sskd_refine' + stem),
        ('test', 'sskd_refine' + stem),
    ]
    # One network each, the composite teacher too.
    assert not any('--model' in c for c in calls)
    generate = calls[5]
    assert generate[3].endswith(
        'sskd_teacher_selftrain' + stem + '/iter_6.pth'
    )
    out = generate[generate.index('--out') + 1]
    assert out.endswith(
        'sskd_teacher_selftrain' + stem + '/pseudo_labels.json'
    )
    images = generate[generate.index('--images') + 1]
    assert images == (
        'data/cityscapes/annotations/semi/published@10-unlabeled.json'
    )
    # Trained for 6 iterations, not for the 90000 that the config names.
    (start,) = (o for o in calls[8] if o.startswith('load_from='))
    assert start.endswith('sskd_distill' + stem + '/iter_6.pth')
    calls.clear()
    _run(monkeypatch, 'sskd', 'cityscapes', '10', '4')
    assert calls == []


SSKD = ('sskd', 'cityscapes', '10', '1')


@pytest.fixture
def half_done(calls, monkeypatch, tmp_path):
    """SSKD up to the pseudo-labels of its first teacher, not further."""
    _run(monkeypatch, *SSKD)
    folder = tmp_path / 'work_dirs'
    for name in ('sskd_teacher_selftrain', 'sskd_distill', 'sskd_refine'):
        (folder / f'{name}_cityscapes_10p').rename(folder / f'was_{name}')
    calls.clear()
    return folder / 'sskd_teacher_adapt_cityscapes_10p'


def _generated(calls: list[list[str]]) -> list[str]:
    """Teachers whose pseudo-labels were made."""
    return [Path(c[2]).stem for c in calls if 'generate' in c[1]]


def test_pseudo_labels__of_the_same_teacher_are_used(
    half_done, calls, monkeypatch, capsys
):
    _run(monkeypatch, *SSKD)
    assert _generated(calls) == ['sskd_teacher_selftrain_cityscapes_10p']
    assert 'pseudo-labels: made' in capsys.readouterr().out
    assert not list(half_done.glob('*.old'))


def _train_again(folder: Path) -> None:
    """Other weights under the same name."""
    torch.save('again', folder / 'iter_6.pth')


def _other_options(folder: Path) -> None:
    """As a config with another threshold would have made it."""
    file = folder / 'pseudo_labels.json'
    data = json.loads(file.read_text())
    data['info']['score_thr'] = '0.7'
    file.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (_train_again, 'another checkpoint'),
        (_other_options, 'score_thr 0.7 instead of 0.3'),
    ],
)
def test_pseudo_labels__of_another_teacher_are_made_again(
    half_done, calls, monkeypatch, capsys, change, reason
):
    change(half_done)
    old = (half_done / 'pseudo_labels.json').read_text()
    _run(monkeypatch, *SSKD)
    assert _generated(calls) == [
        'sskd_teacher_adapt_cityscapes_10p',
        'sskd_teacher_selftrain_cityscapes_10p',
    ]
    assert reason in capsys.readouterr().out
    assert (half_done / 'pseudo_labels.json.old').read_text() == old


@pytest.mark.parametrize('text', ['{}', '[]', '{"info": {}}', 'no JSON'])
def test_pseudo_labels__of_another_program_stop(
    half_done, calls, monkeypatch, text
):
    file = half_done / 'pseudo_labels.json'
    file.write_text(text)
    with pytest.raises(SystemExit, match=r'was not made by .* tools/train'):
        _run(monkeypatch, *SSKD)
    assert file.read_text() == text and calls == []


def test_pseudo_labels__corrected_by_hand(half_done, calls, monkeypatch):
    """Used with their own teacher, and never replaced for another one."""
    file = half_done / 'pseudo_labels.json'
    data = json.loads(file.read_text())
    data['annotations'][0]['category_id'] = 26
    file.write_text(json.dumps(data))
    _train_again(half_done)
    with pytest.raises(SystemExit, match='was edited, and has another check'):
        _run(monkeypatch, *SSKD)
    assert json.loads(file.read_text()) == data and calls == []
    torch.save(0, half_done / 'iter_6.pth')
    args = generate_pseudo_labels.parse_args(
        ['x.py', str(half_done / 'iter_6.pth'), '--images', 'x', '--out', 'x']
    )
    settings = generate_pseudo_labels.make_settings(args)
    data['info']['checkpoint_sha256'] = settings['checkpoint_sha256']
    file.write_text(json.dumps(data))
    _run(monkeypatch, *SSKD)
    assert _generated(calls) == ['sskd_teacher_selftrain_cityscapes_10p']


def test_early_stopping__is_the_end_of_a_stage(
    calls, monkeypatch, tmp_path, capsys
):
    """Without a checkpoint of the last iteration."""
    work_dir = tmp_path / 'work_dirs/s4m_teacher_shapes_5p'
    work_dir.mkdir(parents=True)
    torch.save({}, work_dir / 'iter_4.pth')
    last = work_dir / 'last_checkpoint'
    last.write_text(str(work_dir / 'iter_4.pth'))
    (work_dir / 'stopped_early.json').write_text('{"iteration": 4}')
    _run(monkeypatch, 's4m', 'shapes', '5', '1')
    what = [(c[1], Path(c[2]).stem) for c in calls]
    assert what == [
        ('tools/test.py', 's4m_teacher_shapes_5p'),
        ('tools/train.py', 's4m_shapes_5p'),
        ('tools/test.py', 's4m_shapes_5p'),
    ]
    assert 'early stopping at iteration 4' in capsys.readouterr().out


def test_chain__stops_where_a_stage_fails(calls, monkeypatch):
    monkeypatch.setattr(run_experiment.subprocess, 'call', lambda *_, **__: 3)
    with pytest.raises(SystemExit) as e:
        _run(monkeypatch, 's4m', 'shapes', '5', '1')
    assert e.value.code == 3


def test_unknown_row__names_those_that_are(calls, monkeypatch):
    with pytest.raises(SystemExit, match=r'no config s4m_cityscapes_7p\.py'):
        _run(monkeypatch, 's4m', 'cityscapes', '7', '4')
    assert calls == []


def test_load_from_elsewhere__is_no_stage():
    """Weights of a hub or of one's own start a run, no chain."""
    for load_from, expected in (
        (None, False),
        ('https://example.org/weights.pth', False),
        ('checkpoints/weights.pth', False),
        ('work_dirs/sskd_distill_shapes_5p/iter_800.pth', True),
    ):
        cfg = run_experiment.Config(dict(load_from=load_from))
        assert run_experiment.starts_from_stage(cfg) == expected
