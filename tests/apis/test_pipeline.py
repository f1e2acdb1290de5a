# SPDX-License-Identifier: Apache-2.0
"""The chain of stages, what it skips, refuses and says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from s4m.apis import launcher
from s4m.apis.config import get_config
from s4m.apis.pipeline import (
    Launcher,
    Stage,
    StageError,
    format_table,
    run_stage,
    run_stages,
    stages_of,
)
from s4m.apis.pseudo_label_file import annotations_digest
from s4m.apis.pseudo_labels import PseudoLabelGenerator
from s4m.apis.records import add_seconds, write_record

ITERS = {'train_cfg.max_iters': 6}


def _value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def _options(command: list[str]) -> dict:
    if '--cfg-options' not in command:
        return {}
    rest = command[command.index('--cfg-options') + 1 :]
    return dict(option.split('=', 1) for option in rest)


def _make_labels(config: str, checkpoint: str, command: list[str]) -> None:
    """A file as tools/generate_pseudo_labels.py leaves it."""
    generator = PseudoLabelGenerator(
        config,
        checkpoint,
        images=_value(command, '--images'),
        image_root=_value(command, '--image-root'),
        score_thr=float(_value(command, '--score-thr')),
        max_per_image=int(_value(command, '--max-per-image')),
        non_overlapping='--non-overlapping' in command,
    )
    annotations = [dict(id=1, image_id=1, category_id=24, score=0.5)]
    digest = annotations_digest(annotations)
    info = dict(annotations_sha256=digest, **generator.settings)
    out = Path(_value(command, '--out'))
    out.write_text(json.dumps(dict(info=info, annotations=annotations)))


def _train(config: str, command: list[str]) -> None:
    """A work directory as tools/train.py leaves it."""
    options = {k: v for k, v in _options(command).items() if v}
    options['train_cfg.max_iters'] = int(options['train_cfg.max_iters'])
    options['work_dir'] = _value(command, '--work-dir')
    cfg = get_config(config, options)
    write_record(cfg)
    add_seconds(cfg.work_dir, 3)
    file = Path(cfg.work_dir, 'iter_6.pth').absolute()
    torch.save(config, file)
    file.with_name('last_checkpoint').write_text(str(file))


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Commands instead of runs; training and testing leave their files."""
    monkeypatch.chdir(tmp_path)
    for name in ('published@10', 'seed0@10'):
        images = f'data/cityscapes/annotations/semi/{name}-unlabeled.json'
        Path(images).parent.mkdir(parents=True, exist_ok=True)
        Path(images).write_text('{}')
        Path(images.replace('-unlabeled', '')).write_text('{}')
    made: list[list[str]] = []

    def fake(command):
        made.append(command)
        tool, config, *rest = command[1:]
        if 'generate' in tool:
            _make_labels(config, rest[0], command)
        elif 'train' in tool:
            _train(config, command)
        else:
            net = {'cityscapes/mAP': 0.25, 'coco/segm_mAP': 0.5}
            both = '--model' in command
            names = ('teacher', 'student') if both else ('model',)
            target = Path(_value(command, '--json'))
            target.write_text(json.dumps({n: net for n in names}))
        return 0

    monkeypatch.setattr(launcher.subprocess, 'call', fake)
    return made


def _run(name: str, gpus: int = 1, **kwargs) -> dict:
    stages = stages_of(name, cfg_options=ITERS, **kwargs)
    return run_stages(stages, Launcher(gpus=gpus))


def _what(calls: list[list[str]]) -> list[tuple[str, str]]:
    """Tool and config of the commands."""
    return [(Path(c[1]).name, Path(c[2]).stem) for c in calls]


def test_chain__teacher_student_tests_and_table(calls, capsys):
    results = _run('s4m_shapes_5p')
    assert _what(calls) == [
        ('train.py', 's4m_teacher_shapes_5p'),
        ('test.py', 's4m_teacher_shapes_5p'),
        ('train.py', 's4m_shapes_5p'),
        ('test.py', 's4m_shapes_5p'),
    ]
    assert all(_options(c)['train_cfg.max_iters'] == '6' for c in calls)
    assert '--resume' in calls[0]
    assert _value(calls[3], '--model') == 'both'
    table = format_table(results)
    assert 's4m_shapes_5p (student)' in table and '25.00' in table

    calls.clear()
    assert _run('s4m_shapes_5p') == results
    assert calls == []
    assert 's4m_shapes_5p: trained' in capsys.readouterr().out


def test_chain__several_gpus(calls, monkeypatch):
    commands = []
    monkeypatch.setattr(
        launcher.subprocess, 'call', lambda c: commands.append(c) or 0
    )
    stage = stages_of('guided_distillation_swin_l_cityscapes_10p')[0]
    assert stage.name == 'supervised_swin_l_cityscapes_10p'
    run = Launcher(gpus=4, amp='bf16')
    run('train', stage, [stage.config, '--resume'], {'a.b': 1})
    run('test', stage, [stage.config, 'x.pth'], {})
    train, test = commands
    # tools/dist_train.sh CONFIG GPUS, tools/dist_test.sh CONFIG FILE GPUS
    assert train[0] == 'bash' and train[1].endswith('tools/dist_train.sh')
    assert train[2:] == [
        str(stage.config),
        '4',
        '--resume',
        '--cfg-options',
        'a.b=1',
    ]
    assert test[2:] == [str(stage.config), 'x.pth', '4']


def test_chain__sskd_in_three_stages(calls):
    """Each teacher's pseudo-labels before the stage that learns from them."""
    _run('sskd_refine_cityscapes_10p')
    stem = '_cityscapes_10p'
    assert _what(calls) == [
        ('train.py', 'sskd_teacher_adapt' + stem),
        ('test.py', 'sskd_teacher_adapt' + stem),
        ('generate_pseudo_labels.py', 'sskd_teacher_adapt' + stem),
        ('train.py', 'sskd_teacher_selftrain' + stem),
        ('test.py', 'sskd_teacher_selftrain' + stem),
        ('generate_pseudo_labels.py', 'sskd_teacher_selftrain' + stem),
        ('train.py', 'sskd_distill' + stem),
        ('test.py', 'sskd_distill' + stem),
        ('train.py', 'sskd_refine' + stem),
        ('test.py', 'sskd_refine' + stem),
    ]
    # One network each, the composite teacher too.
    assert not any('--model' in c for c in calls)
    folder = 'sskd_teacher_selftrain' + stem
    assert calls[5][3].endswith(f'{folder}/iter_6.pth')
    assert _value(calls[5], '--out').endswith(f'{folder}/pseudo_labels.json')
    assert _value(calls[5], '--images') == (
        'data/cityscapes/annotations/semi/published@10-unlabeled.json'
    )
    # Trained for 6 iterations, not for the 90000 that the config names.
    assert _options(calls[8])['load_from'].endswith(
        f'sskd_distill{stem}/iter_6.pth'
    )
    calls.clear()
    _run('sskd_refine_cityscapes_10p')
    assert calls == []


def test_split__has_work_directories_of_its_own(calls):
    _run('s4m_cityscapes_10p')
    calls.clear()
    _run('s4m_cityscapes_10p', split='seed0@10')
    assert len(calls) == 4
    folders = [Path(_value(c, '--work-dir')) for c in calls]
    assert {str(f.parent) for f in folders} == {'work_dirs/seed0@10'}
    assert _options(calls[2])['model.teacher_checkpoint'] == (
        'work_dirs/seed0@10/s4m_teacher_cityscapes_10p'
    )


def test_another_config__is_refused(calls):
    _run('s4m_shapes_5p')
    stages = stages_of(
        's4m_shapes_5p',
        cfg_options={**ITERS, 'optim_wrapper.optimizer.lr': 0.5},
    )
    calls.clear()
    message = r's4m_teacher_shapes_5p was trained .*\.optimizer\.lr .* 0\.5'
    with pytest.raises(ValueError, match=message):
        run_stages(stages)
    assert calls == []


def test_teacher_trained_again__student_is_not_skipped(calls):
    _run('s4m_shapes_5p')
    _train_again(Path('work_dirs/s4m_teacher_shapes_5p'))
    calls.clear()
    with pytest.raises(ValueError, match='s4m_shapes_5p started from another'):
        _run('s4m_shapes_5p')
    # The teacher is tested again, since its weights are new.
    assert _what(calls) == [('test.py', 's4m_teacher_shapes_5p')]


SSKD = 'sskd_refine_cityscapes_10p'


@pytest.fixture
def half_done(calls):
    """SSKD up to the pseudo-labels of its first teacher, not further."""
    _run(SSKD)
    folder = Path('work_dirs')
    for name in ('sskd_teacher_selftrain', 'sskd_distill', 'sskd_refine'):
        (folder / f'{name}_cityscapes_10p').rename(folder / f'was_{name}')
    calls.clear()
    return folder / 'sskd_teacher_adapt_cityscapes_10p'


def _generated(calls: list[list[str]]) -> list[str]:
    """Teachers whose pseudo-labels were made."""
    return [Path(c[2]).stem for c in calls if 'generate' in c[1]]


def test_pseudo_labels__of_the_same_teacher_are_used(half_done, calls, capsys):
    _run(SSKD)
    assert _generated(calls) == ['sskd_teacher_selftrain_cityscapes_10p']
    assert 'pseudo-labels: made' in capsys.readouterr().out
    assert not list(half_done.glob('*.old'))


def _train_again(folder: Path) -> None:
    """Other weights under the same name."""
    torch.save('again', folder / 'iter_6.pth')


def _other_options(folder: Path) -> None:
    """As a config with another threshold would have made it."""
    file = folder / 'pseudo_labels.json'
    text = file.read_text().replace('"score_thr": "0.3"', '"score_thr": "0.7"')
    file.write_text(text)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (_train_again, 'another checkpoint'),
        (_other_options, 'score_thr 0.7 instead of 0.3'),
    ],
)
def test_pseudo_labels__of_another_teacher_are_made_again(
    half_done, calls, capsys, change, reason
):
    change(half_done)
    old = (half_done / 'pseudo_labels.json').read_text()
    _run(SSKD)
    assert _generated(calls) == [
        'sskd_teacher_adapt_cityscapes_10p',
        'sskd_teacher_selftrain_cityscapes_10p',
    ]
    assert reason in capsys.readouterr().out
    assert (half_done / 'pseudo_labels.json.old').read_text() == old


@pytest.mark.parametrize('text', ['{}', '[]', '{"info": {}}', 'no JSON'])
def test_pseudo_labels__of_another_program_stop(half_done, calls, text):
    file = half_done / 'pseudo_labels.json'
    file.write_text(text)
    with pytest.raises(ValueError, match=r'was not made by .* tools/train'):
        _run(SSKD)
    assert file.read_text() == text and calls == []


def test_early_stopping__is_the_end_of_a_stage(calls, capsys):
    """Without a checkpoint of the last iteration."""
    work_dir = Path('work_dirs/s4m_teacher_shapes_5p')
    work_dir.mkdir(parents=True)
    torch.save({}, work_dir / 'iter_4.pth')
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_4.pth'))
    (work_dir / 'stopped_early.json').write_text('{"iteration": 4}')
    _run('s4m_shapes_5p')
    assert _what(calls) == [
        ('test.py', 's4m_teacher_shapes_5p'),
        ('train.py', 's4m_shapes_5p'),
        ('test.py', 's4m_shapes_5p'),
    ]
    assert 'early stopping (' in capsys.readouterr().out


def test_chain__stops_where_a_stage_fails(calls, monkeypatch):
    monkeypatch.setattr(launcher.subprocess, 'call', lambda _: 3)
    message = r'train\.py of s4m_teacher_shapes_5p failed with status 3'
    with pytest.raises(StageError, match=message):
        _run('s4m_shapes_5p')


def test_quiet__failure_shows_the_end_of_the_log(tmp_path):
    stage = Stage(ROOT / 'configs/none.py', tmp_path / 'x')
    launch = Launcher(quiet=True)
    with pytest.raises(StageError, match=r'train\.log, which .* required'):
        launch('train', stage, [], {})


def test_result__time_and_metrics(calls):
    (stage,) = stages_of('supervised_shapes_5p', cfg_options=ITERS)
    result = run_stage(stage)
    assert result['train_seconds'] == 3
    assert result['metrics']['model']['cityscapes/mAP'] == 0.25


def test_table__network_without_predictions_is_0():
    metrics = {'cityscapes/mAP': 0.5, 'coco/segm_mAP': 0.25}
    text = format_table({'x': dict(teacher=metrics, student={})})
    assert text.splitlines()[1].split()[-2:] == ['50.00', '25.00']
    assert text.splitlines()[2].split()[-2:] == ['0.00', '0.00']


def test_other_test__is_not_the_old_one(calls):
    _run('supervised_cityscapes_10p')
    del calls[:]
    given = ITERS | {'test_dataloader.dataset.indices': 1}
    for _ in range(2):
        run_stages(stages_of('supervised_cityscapes_10p', cfg_options=given))
    assert _what(calls) == [('test.py', 'supervised_cityscapes_10p')]


def test_half_a_result__is_tested_again(calls):
    results = _run('s4m_shapes_5p')
    (file,) = Path('work_dirs/s4m_shapes_5p').glob('test_*.json')
    calls.clear()
    file.write_text('{"student"')
    assert _run('s4m_shapes_5p') == results
    assert _what(calls) == [('test.py', 's4m_shapes_5p')]
