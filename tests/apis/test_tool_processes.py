# SPDX-License-Identifier: Apache-2.0
"""Tools that run in forks of one process."""

from __future__ import annotations

import pytest
from s4m.apis.tool_processes import start_tool

TOOL = """
import os, sys, time
import mmdet.models
print(sys.argv[1:], os.environ['OMP_NUM_THREADS'], 'import', end=' ')
print('torch' in sys.modules and __name__, flush=True)
if sys.argv[1] == 'wait':
    time.sleep(60)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def tool(tmp_path):
    file = tmp_path / 'tool.py'
    file.write_text(TOOL)
    return file


def test_tool__output_and_exit_status(tool, tmp_path):
    log = tmp_path / 'log'
    log.write_text('before\n')
    processes = [start_tool(tool, [code, 'b'], log) for code in ('0', '3')]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 3]
    before, *lines = log.read_text().splitlines()
    assert before == 'before'
    assert sorted(lines) == [
        "['0', 'b'] 1 import __main__",
        "['3', 'b'] 1 import __main__",
    ]


def test_tool__error_is_in_the_log(tool, tmp_path):
    log = tmp_path / 'log'
    process = start_tool(tool, ['x'], log)
    process.join(60)
    assert process.exitcode == 1
    assert 'ValueError: invalid literal' in log.read_text()


def test_tool__can_be_stopped(tool, tmp_path):
    log = tmp_path / 'log'
    process = start_tool(tool, ['wait'], log)
    while 'wait' not in (log.read_text() if log.exists() else ''):
        process.join(0.1)
    process.terminate()
    process.join(20)
    assert process.exitcode == -15
