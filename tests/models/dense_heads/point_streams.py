# SPDX-License-Identifier: Apache-2.0
"""The same random points for heads that draw them in different calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch


def draw_same_points(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which the same points are drawn again.

    Points of the matching, candidates and uniform points differ in their
    number, and MMDet draws each of them by layer, then by image or pair. A
    stream of random numbers for each number of points gives the same points
    to a head that draws them for all layers at once.
    """
    rand = torch.rand
    streams: dict[int, torch.Generator] = {}

    def draw(*shape, device=None, generator=None):
        if generator is not None:
            return rand(*shape, generator=generator)
        shape = tuple(shape[0]) if len(shape) == 1 else shape
        if shape[-2] not in streams:
            streams[shape[-2]] = torch.Generator().manual_seed(shape[-2])
        return rand(shape, generator=streams[shape[-2]])

    monkeypatch.setattr(torch, 'rand', draw)
    return streams.clear
