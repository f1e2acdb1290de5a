# SPDX-License-Identifier: Apache-2.0
"""The package as users get it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

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


def test_wheel__imports_from_any_directory(tmp_path):
    subprocess.run(
        [
            sys.executable,
            '-c',
            'import sys; from setuptools.build_meta import build_wheel;'
            f'print(build_wheel({str(tmp_path)!r}))',
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob('s4m-*.whl')
    site = tmp_path / 'site'
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert {'s4m/assets/nano_sam2.pt', 's4m/assets/nano_sam2.yaml'} <= set(
        names
    )
    metadata = next(site.glob('*.dist-info/METADATA')).read_text()
    assert 'Requires-Dist: sam2' in metadata
    # pip would compile mmcv, or replace an upstream installation.
    assert 'mmcv' not in metadata.split('\n\n')[0]
    code = 'import s4m; print(s4m.__file__); s4m.models.SAM2Segmenter'
    done = _python(code, '/', PYTHONPATH=str(site))
    assert done.stdout.splitlines()[-1].startswith(str(site)), done.stderr


def test_lock__names_no_index_and_hashes_everything():
    lines = (ROOT / 'requirements/lock.txt').read_text().splitlines()
    pins = [line for line in lines if '==' in line]
    assert len(pins) > 60
    assert all(line.endswith(' \\') for line in pins)
    assert not any('://' in line for line in lines)
    assert 'Python: 3.11' in lines[0]
