# SPDX-License-Identifier: Apache-2.0
"""The leaf configs, each read once per test process."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest import mock

from conftest import ROOT
from mmengine.config import Config

#: Paths below ``configs/``, without bases.
CONFIGS = sorted(
    p.relative_to(ROOT / 'configs')
    for p in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in p.parts
)
_PARSED: dict[Path, tuple] = {}


@contextmanager
def _each_base_parsed_once():
    """Let MMEngine read a base once instead of once per child.

    175 configs share a few bases; the largest ones are read 60 times.
    """
    parse = Config._file2dict

    def cached(filename, *args, **kwargs):
        path = Path(filename).resolve()
        if path not in _PARSED:
            _PARSED[path] = parse(filename, *args, **kwargs)
        # Configs edit what they take from `_base_`.
        return copy.deepcopy(_PARSED[path])

    with mock.patch.object(Config, '_file2dict', staticmethod(cached)):
        yield


@cache
def _read(path: str) -> Config:
    with _each_base_parsed_once():
        return Config.fromfile(ROOT / 'configs' / path)


def load(path: str | Path) -> Config:
    """A copy of a config that the test may change.

    Args:
        path (str | Path): Below ``configs/``, with or without ``.py``.
    """
    return copy.deepcopy(_read(f'{str(path).removesuffix(".py")}.py'))


def pipelines(node):
    """All pipelines below a config node."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'pipeline':
                yield value
            else:
                yield from pipelines(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from pipelines(value)
