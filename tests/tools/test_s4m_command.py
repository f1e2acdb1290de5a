# SPDX-License-Identifier: Apache-2.0
"""The command ``s4m``: help, lists, and mistakes in one line."""

import subprocess
import sys

import pytest
from s4m_command import app
from typer.testing import CliRunner

COMMANDS = (
    'train',
    'label',
    'suggest',
    'predict',
    'evaluate',
    'report',
    'publish',
    'convert',
    'doctor',
    'list',
    'config',
)


def call(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize('command', COMMANDS)
def test_every_help_has_an_example(command):
    text = ' '.join(call(command, '--help').output.split())
    assert f'Example: s4m {command}' in text


def test_help_does_not_import_mmdetection():
    code = (
        'import sys; from s4m_command import app\n'
        'try:\n    app(["train", "--help"])\n'
        'except SystemExit:\n    pass\n'
        'assert not {"torch", "mmdet", "s4m"} & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_lists():
    models = call('list', 'models').output
    assert 'mask2former_r50 ' in models and 'rtmdet_ins_nano' in models
    assert 'guided_distillation ' in call('list', 'methods').output
    assert 'nano_sam2' in call('list', 'segmenters').output
    rows = call('list', 'configs').output.splitlines()
    assert any(row.startswith('s4m_cityscapes_10p ') for row in rows)


def test_config_is_found_and_printed():
    place = call('config', 's4m_cityscapes_10p').output.strip()
    assert place.endswith('s4m_cityscapes_10p.py')
    text = call('config', 's4m_cityscapes_10p', '--print').output
    assert "type='SemiInstanceSegmentor'" in text and '_base_' not in text


def test_doctor_names_what_is_missing():
    result = call('doctor')
    assert result.exit_code == 0
    lines = {
        line[4:26].strip(): line[:2] for line in result.output.split('\n')
    }
    assert lines["mmcv's operators"] == lines['sam2'] == 'ok'


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('train', '--out', 'new'), 'new is no run yet: name the labels'),
        (('train', '--out', 'new', '--labeled', 'nix.json'), 'nix.json'),
        (('report', 'nowhere'), 'nowhere is no run of s4m train'),
        (('publish', 'nowhere', '--out', 'x'), 'nowhere is no run of s4m'),
        (('label', 'nowhere', 'x', '--out', 'y'), 'nowhere is no run'),
        (('predict', 'nowhere', 'x', '--out', 'y'), 'nowhere is no run'),
        (('suggest', 'nowhere', 'x'), 'nowhere is no run of s4m train'),
        (('evaluate', 'nowhere', 'x'), 'nowhere is no run of s4m train'),
        (('convert', 'nix.json', 'y', '--format', 'voc'), 'nix.json'),
        (('config', 'nix'), 'There is no config nix.py'),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 1
    error = result.stderr.strip()
    assert error.startswith('Error: ') and message in error
    assert '\n' not in error
    assert 'Traceback' in call(*arguments, '--debug').stderr


def test_options_that_do_not_exist():
    assert call('train', '--out', 'x', '--nonsense').exit_code == 2
    assert call('train').exit_code == 2
    assert call('list', 'dogs').exit_code == 2
