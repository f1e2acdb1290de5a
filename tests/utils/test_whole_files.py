# SPDX-License-Identifier: Apache-2.0
"""Files are whole, or as they were."""

from __future__ import annotations

import json

import pytest
from s4m.utils.whole_files import write_json, write_whole


def test_write_whole__failure_leaves_the_old_file(tmp_path):
    path = tmp_path / 'new' / 'a.txt'
    with write_whole(path) as partial:
        partial.write_text('old')
    with pytest.raises(KeyError), write_whole(path) as partial:
        partial.write_text('half')
        raise KeyError
    assert path.read_text() == 'old'
    assert [p.name for p in path.parent.iterdir()] == ['a.txt']


def test_write_json__bad_data_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.json'
    write_json(path, {'b': 1}, indent=1)
    with pytest.raises(TypeError):
        write_json(path, {'b': object()})
    assert json.loads(path.read_text()) == {'b': 1}
    assert [p.name for p in tmp_path.iterdir()] == ['a.json']
