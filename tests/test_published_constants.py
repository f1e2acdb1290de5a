# SPDX-License-Identifier: Apache-2.0
"""The table of published constants against every resolved config."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest
from leaf_configs import CONFIGS, load
from published_constants import TABLE
from resolved_constants import constants

#: MMDetection's own pipeline and schedule; only a loss is added.
MMDETS_OWN = ('mixing/s4m_teacher_mmdet_mask2former_coco_100p',)
NAMES = [str(p.with_suffix('')) for p in CONFIGS]


def expected(name: str) -> dict:
    """The table's constants of a config; None is "not there"."""
    merged: dict = {}
    for row in TABLE:
        if any(fnmatch(name, pattern) for pattern in row.configs):
            merged.update(row.constants)
    return merged


@pytest.mark.parametrize('name', [n for n in NAMES if n not in MMDETS_OWN])
def test_config__has_the_published_constants(name):
    found = constants(load(name))
    # MMEngine scales the rate by the ratio of the two.
    assert found.pop('total_batch') == found['base_batch_size']
    want = expected(name)
    differ = [
        f'{key}: {found.get(key)!r} here, {want.get(key, "nothing")!r} in '
        'the table'
        for key in found.keys() | want.keys()
        if found.get(key) != want.get(key, 'nothing')
    ]
    assert not differ, '\n'.join(sorted(differ))


def test_table__every_row_has_a_config_and_a_source():
    for row in TABLE:
        assert row.source
        for pattern in row.configs:
            assert any(fnmatch(n, pattern) for n in NAMES), pattern
