# SPDX-License-Identifier: Apache-2.0
"""Corrections of the versions that are installed."""

from __future__ import annotations

import subprocess
import sys

import torch
from s4m.utils.compatibility import narrow_box_encoding


def test_narrow_encoding__is_mmdets_for_128_channels():
    """onedl-mmdetection's DINO decoder passes 256 a coordinate."""
    from mmdet.models.layers.transformer import MLP, coordinate_to_encoding

    boxes = torch.rand(2, 5, 4)
    head = MLP(512, 256, 256, 2)
    wanted = coordinate_to_encoding(boxes, num_feats=128)
    (found,) = narrow_box_encoding(
        head, (coordinate_to_encoding(boxes, num_feats=256),)
    )
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert narrow_box_encoding(head, (wanted,)) is None


def test_import__says_nothing():
    """MMDetection's notice on OneDL's own data sets is twice too many."""
    run = subprocess.run(
        [sys.executable, '-c', 'import s4m'], capture_output=True, text=True
    )
    assert run.returncode == 0
    assert 'OneDL' not in run.stdout + run.stderr
