# SPDX-License-Identifier: Apache-2.0
"""What the tools share: options, and errors in one line."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from s4m.apis.cli import (
    add_cfg_options,
    add_launcher,
    make_parser,
    one_line_errors,
)
from s4m.datasets.samplers.semi_sampler import SemiSampler


def _library_error(*_) -> None:
    """A ``ValueError`` that a line of the package raises."""
    SemiSampler(None, num_labeled=2)


def _in_a_worker() -> None:
    with ProcessPoolExecutor(1) as pool:
        pool.submit(_library_error).result()


def _while_handling() -> None:
    try:
        _library_error()
    except ValueError as e:
        raise ValueError(f'class `X`: {e}') from e


@pytest.mark.parametrize(
    'main', [_library_error, _in_a_worker, _while_handling]
)
def test_library_error__is_one_line(main):
    with pytest.raises(SystemExit) as e:
        one_line_errors(main)()
    assert isinstance(e.value.code, str)
    assert 'go together' in e.value.code and '\n' not in e.value.code


def test_missing_file__is_named(tmp_path):
    path = tmp_path / 'x.json'
    with pytest.raises(SystemExit) as e:
        one_line_errors(path.read_text)()
    assert e.value.code == f'{path}: No such file or directory'


def test_missing_package__is_one_line():
    def main() -> None:
        raise ImportError('sam2 is missing:\n  pip install sam2')

    with pytest.raises(SystemExit, match='sam2 is missing: pip install sam2'):
        one_line_errors(main)()


@pytest.mark.parametrize(
    ('main', 'error'),
    [
        (lambda: int('x'), ValueError),
        (lambda: {}['x'], KeyError),
        (lambda: Path(None), TypeError),
    ],
)
def test_programming_error__keeps_its_traceback(main, error):
    with pytest.raises(error):
        one_line_errors(main)()


def test_result__is_returned():
    assert one_line_errors(lambda x: x + 1)(2) == 3


def test_parser__options_and_description():
    parser = make_parser('Train.\n\n    tools/x.py A\n')
    add_launcher(parser)
    add_cfg_options(parser)
    args = parser.parse_args(
        ['--local-rank=1', '--cfg-options', 'a.b=2', 'c=[1,2]']
    )
    assert vars(args) == dict(
        launcher='none', cfg_options={'a.b': 2, 'c': [1, 2]}
    )
    assert vars(parser.parse_args([])) == dict(
        launcher='none', cfg_options=None
    )
    assert 'Train.\n\n    tools/x.py A' in parser.format_help()
