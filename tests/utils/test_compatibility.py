# SPDX-License-Identifier: Apache-2.0
"""Corrections of the versions that are installed."""

from __future__ import annotations

import torch
from mmengine.config import Config
from s4m.utils.compatibility import format_configs_once, narrow_box_encoding


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


def test_config__is_formatted_once_for_each_text(monkeypatch):
    from yapf.yapflib import yapf_api

    calls = []

    def format_code(text, style_config):
        calls.append((text, style_config['based_on_style']))
        return text + '# formatted', True

    monkeypatch.setattr(yapf_api, 'FormatCode', format_code)
    format_configs_once()
    format_configs_once()
    cfg = Config(dict(model=dict(type='A'), end=1))
    assert cfg.pretty_text == cfg.pretty_text
    assert cfg.pretty_text.endswith('# formatted')
    cfg.end = 2
    assert 'end=2' in cfg.pretty_text
    assert [style for _, style in calls] == ['pep8', 'pep8']
    assert [text.count('end=1') for text, _ in calls] == [1, 0]
