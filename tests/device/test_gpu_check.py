# SPDX-License-Identifier: Apache-2.0
"""The check of a real GPU runs whole at nano size on a device."""

from __future__ import annotations

import pytest
import torch
from s4m.apis.gpu_check import PARTS, Report
from s4m.apis.gpu_check.processes import run_here
from s4m.apis.gpu_check.random_draws import host_draws

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]

#: Tables that a part has to fill. PyTorch's profiler and its warnings know
#: nothing of a simulated device.
TABLES = dict(
    environment={'software', 'card', 'ceilings'},
    operators={'relative errors'},
    steps={'losses against the host'},
    student={'modes', 'phases in ms', 'ratios'},
    launches={'waits'},
    models={'training steps', 'prediction of one image'},
    resume={'weights, against a first run'},
    loader={'images a second'},
)


# The part `tests` would run this file.
@pytest.mark.parametrize(
    'name', [part.name for part in PARTS if part.name != 'tests']
)
def test_part(name, tmp_path):
    report = Report(name, tmp_path)
    run_here(name, True, report)
    assert report.data['errors'] == []
    assert report.data['status'] == 'done'
    assert TABLES[name] <= report.data['tables'].keys()
    for table in ('relative errors', 'losses against the host'):
        for row in report.data['tables'].get(table, ()):
            # In bf16, one other match of a query changes a loss.
            assert row['passed'] or row.get('precision') == 'bf16', row


def test_host_draws__are_the_hosts():
    """On every device, and in place."""
    drawn = []
    for where in ('cpu', 'cuda'):
        torch.manual_seed(0)
        with host_draws():
            values = torch.empty(3, device=where)
            parts = (
                torch.rand(2, 3, device=where),
                torch.rand_like(values),
                torch.randperm(5, device=where),
                values.uniform_(1, 2).clone(),
                torch.multinomial(values, 2),
            )
        assert all(part.device.type == where for part in parts)
        drawn.append([part.cpu() for part in parts])
    for host, device in zip(*drawn, strict=True):
        assert torch.equal(host, device)
