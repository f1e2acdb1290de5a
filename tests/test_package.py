# SPDX-License-Identifier: Apache-2.0
"""The package as users get it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


def _python(code: str, cwd, **env) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-c', code],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )


def test_second_name__is_refused():
    done = _python('import projects.s4m', ROOT)
    assert done.returncode != 0
    assert 'use `import s4m`' in done.stderr


def test_missing_libraries__are_named(tmp_path):
    code = (
        'import importlib.util as u; find = u.find_spec\n'
        'u.find_spec = lambda n, *a: None if n == "mmcv" else find(n, *a)\n'
        'import s4m'
    )
    done = _python(code, tmp_path)
    assert 's4m needs mmcv' in done.stderr


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    """The wheel that is built from a source distribution."""
    folder = tmp_path_factory.mktemp('dist')
    code = (
        'import sys; from setuptools import build_meta as b;'
        f'print(b.build_{{}}({str(folder)!r}))'
    )
    _build(code.format('sdist'), ROOT)
    (source,) = folder.glob('s4m-*.tar.gz')
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter='data')
    _build(code.format('wheel'), folder / source.name[: -len('.tar.gz')])
    (file,) = folder.glob('s4m-*.whl')
    return file


def _build(code: str, cwd: Path) -> None:
    done = _python(code, cwd)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope='module')
def site(wheel, tmp_path_factory) -> Path:
    """A folder in which the wheel is installed."""
    site = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps']
    command += ['--no-index', '--target', str(site), str(wheel)]
    subprocess.run(command, check=True)
    return site


def test_wheel__carries_what_the_ecosystem_looks_for(wheel, site):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [n for n in names if n.endswith('.pyc')]
    # 8 MB that only the source distribution has.
    assert not [n for n in names if 'examples' in n or n.endswith('.png')]
    package = site / 's4m'
    for name in (
        'assets/nano_sam2.pt',
        'assets/nano_sam2.yaml',
        'assets/mask2former_nano.pth',
        'assets/vit_nano.pth',
        'assets/page.html',
        'assets/own_report.html',
        'py.typed',
        # `mim train s4m CONFIG` and MMEngine's s4m:: scope.
        '.mim/model-index.yml',
        '.mim/configs/metafile.yml',
        '.mim/configs/_base_/default_runtime.py',
        '.mim/tools/train.py',
        '.mim/tools/test.py',
        '.mim/tools/dist_train.sh',
    ):
        assert (package / name).is_file(), name
    configs = [p for p in (ROOT / 'configs').rglob('*') if p.is_file()]
    for path in configs:
        copy = package / '.mim' / path.relative_to(ROOT)
        assert copy.read_bytes() == path.read_bytes()
    metadata = next(site.glob('*.dist-info/METADATA')).read_text()
    assert 'Requires-Dist: sam2' in metadata
    # pip would compile mmcv, or replace an upstream installation.
    assert 'mmcv' not in metadata.split('\n\n')[0]


def test_source__has_the_example_data(wheel):
    (source,) = wheel.parent.glob('s4m-*.tar.gz')
    files = [p for p in (ROOT / 'examples').rglob('*') if p.is_file()]
    with tarfile.open(source) as archive:
        names = {n.partition('/')[2] for n in archive.getnames()}
    assert files and {str(p.relative_to(ROOT)) for p in files} <= names


def test_wheel__works_from_an_empty_folder(site, tmp_path):
    (tmp_path / 'mine.py').write_text(
        "_base_ = 's4m::supervised/supervised_shapes_5p.py'\n"
    )
    code = """
import s4m, sys
from hydra.core.global_hydra import GlobalHydra
s4m.models.SAM2Segmenter('nano_sam2', None)
assert not GlobalHydra.instance().is_initialized()
from mmdet.apis import DetInferencer, init_detector
from mmengine.hub import get_config
from s4m.apis import get_config as by_name
print(s4m.__file__)
theirs = get_config('s4m::supervised/supervised_shapes_5p.py')
assert theirs.model == by_name('supervised_shapes_5p').model
for config in ('mine.py', by_name('s4m_shapes_5p')):
    # Without cfg_options MMDetection asks for `model.backbone`.
    model = init_detector(config, device='cpu', cfg_options={})
    print(type(model).__name__)
inferencer = DetInferencer('mine.py', device='cpu', show_progress=False)
print(type(inferencer.model).__name__)
"""
    done = _python(code, tmp_path, PYTHONPATH=str(site))
    lines = done.stdout.splitlines()
    assert str(site / 's4m/__init__.py') in lines, done.stderr
    # MMDetection's notice on data sets of its own, twice.
    assert 'OneDL' not in done.stdout + done.stderr
    names = ['Mask2Former', 'SemiInstanceSegmentor', 'Mask2Former']
    assert [n for n in lines if n in names] == names, done.stderr
    # MMDetection's own registry of functions is the one that is missing.
    assert 'registry with scope "s4m"' not in done.stdout + done.stderr
    # What `mim train s4m CONFIG` calls.
    tool = site / 's4m/.mim/tools/train.py'
    done = subprocess.run(
        [sys.executable, str(tool), 's4m_cityscapes_7p'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert line.startswith('There is no config s4m_cityscapes_7p.py')
    assert 'Traceback' not in done.stderr


def test_lock__names_no_index_and_hashes_everything():
    lines = (ROOT / 'requirements/lock.txt').read_text().splitlines()
    pins = [line for line in lines if '==' in line]
    assert len(pins) > 60
    assert all(line.endswith(' \\') for line in pins)
    assert not any('://' in line for line in lines)
    assert 'Python: 3.11' in lines[0]
