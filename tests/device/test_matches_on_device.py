# SPDX-License-Identifier: Apache-2.0
"""Pixel counts of Cityscapes' AP, from masks on a device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from s4m.evaluation.cityscapes_matches import GroundTruth, match_image

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]


def test_matches__as_on_the_host():
    rng = np.random.default_rng(0)
    regions = rng.integers(0, 5, (33, 47)).astype(np.uint8)
    gt = GroundTruth(
        regions=regions,
        classes=np.array([0, 2, 2]),
        pixels=np.bincount(regions.reshape(-1))[2:],
        is_group=np.array([False, True, False]),
    )
    masks = torch.from_numpy(rng.random((4, 33, 47)) < 0.5)
    masks[1] = False
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    classes = np.array([2, 0, -1, 0])
    host, device = (
        vars(match_image('a.png', gt, classes, scores.to(d), masks.to(d)))
        for d in ('cpu', 'cuda')
    )
    np.testing.assert_equal(device, host)
    assert device['pixels'].tolist() == masks[[0, 3]].sum((1, 2)).tolist()
    assert device['pair_prediction'].tolist() == [0, 0, 1]
    assert device['pair_gt'].tolist() == [1, 2, 0]
