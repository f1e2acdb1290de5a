# SPDX-License-Identifier: Apache-2.0
"""Time and memory of calls."""

from __future__ import annotations

import time

import pytest
import torch
from s4m.utils.timing import added_memory_mib, measure, resident_mib


def test_added_memory__of_tensors():
    def grow_and_shrink():
        block = torch.ones(64, 2**20, dtype=torch.uint8)  # 64 MiB
        block = block + block  # 128 MiB until the first is gone
        return block[:1].clone()

    assert added_memory_mib(lambda: None) == 0
    assert added_memory_mib(grow_and_shrink) == pytest.approx(128, abs=0.1)


def test_measure__median_of_turns():
    calls = []
    rows = measure(
        {
            'slow': lambda: (calls.append('slow'), time.sleep(0.02)),
            'fast': lambda: calls.append('fast'),
        },
        repeats=3,
    )
    # A turn for the memory, then turns one after the other.
    assert calls == ['slow', 'fast'] * 4
    assert rows['slow']['ms'] >= 20 > rows['fast']['ms']
    assert resident_mib() > 10
