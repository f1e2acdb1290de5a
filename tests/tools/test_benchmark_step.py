# SPDX-License-Identifier: Apache-2.0
"""The comparisons of tools/benchmark and the phases of a step."""

from __future__ import annotations

import runpy
import time
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

FOLDER = ROOT / 'tools/benchmark'


@pytest.fixture
def modules(monkeypatch):
    """The scripts of the folder import each other, as python lets them."""
    monkeypatch.syspath_prepend(FOLDER)
    return import_module


def test_benchmark__phases_of_s4m(shapes_config, modules):
    cfg = shapes_config('s4m_shapes_5p')
    result = modules('whole_step').benchmark(cfg, iters=2, warmup=1)
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


@pytest.mark.parametrize(
    'name', ['pr', 'sd', 'arp', 'gd', 'pxl', 'matching', 'remedies', 'ap']
)
def test_compare__runs(name, nano_segmenter, modules):
    files = modules('benchmark_step').COMPARISONS
    rows = modules(files[name]).compare(
        segmenter=nano_segmenter,
        size=(32, 64),
        repeats=1,
        device='cpu',
        num_points=8,
        gd_config='guided_distillation_shapes_5p',
    )
    assert len(rows) == dict(gd=2, pxl=4, matching=2, remedies=12).get(name, 3)
    assert all(r['ms'] > 0 and r['peak_mib'] >= 0 for r in rows.values())


def test_command__table_of_a_comparison(modules, monkeypatch, capsys):
    command = [str(FOLDER / 'benchmark_step.py'), '--compare', 'arp']
    command += ['--size', '64x128', '--repeats', '1']
    monkeypatch.setattr('sys.argv', command)
    runpy.run_path(command[0], run_name='__main__')
    assert '| vectorised, static |' in capsys.readouterr().out


def test_pipelines__milliseconds_of_each_step(modules):
    """The fastest repeat, averaged over draws with equal random numbers."""
    drawn = []

    class Wait:
        def __call__(self, sample):
            drawn.append(np.random.rand())
            time.sleep(0.005)
            return sample

    class Data:
        pipeline = SimpleNamespace(transforms=[Wait()])

        def __len__(self):
            return 2

        def get_data_info(self, index):
            return dict(index=index)

    rows = modules('benchmark_pipelines').step_times(Data(), 3, 2)
    assert list(rows) == ['Wait', 'pickling']
    assert rows['Wait'] >= 5 > rows['pickling']
    assert drawn[0::2] == drawn[1::2] and len(set(drawn)) == 3


def test_pipelines__one_step_and_two(modules):
    """MMDet resizes, then crops, where the config does both at once."""
    tool = modules('benchmark_pipelines')
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadLazyAnnotations'),
        dict(
            type='RandomChoiceResize',
            scales=[(64, 32)],
            resize_type='ResizeCrop',
            crop_size=(16, 32),
            keep_empty=False,
        ),
    ]
    steps = tool.two_steps(pipeline, 'pillow')
    assert [s['type'] for s in steps] == [
        'LoadImageFromFile',
        'LoadAnnotations',
        'RandomChoiceResize',
        'RandomCrop',
    ]
    assert steps[2]['backend'] == 'pillow' and 'crop_size' not in steps[2]
