# SPDX-License-Identifier: Apache-2.0
"""Files and wishes that no conversion takes."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from conftest import ROOT
from detectron2_files import released, save
from s4m.apis import detectron2_keys as keys
from s4m.apis.convert import (
    detectron2_to_mmdet,
    mmdet_to_detectron2,
)


class _Evil:
    def __reduce__(self):
        return os.system, ('touch evil',)


@pytest.mark.parametrize('suffix', ['.pkl', '.pth'])
def test_malicious__is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f'evil{suffix}'
    if suffix == '.pkl':
        file.write_bytes(pickle.dumps({'model': _Evil()}))
    else:
        torch.save({'model': _Evil()}, file)
    with pytest.raises(ValueError, match='holds more than tensors'):
        detectron2_to_mmdet(file, tmp_path / 'out.pth')
    assert not (tmp_path / 'evil').exists()


def _truncated(file, state):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _foreign(file, state):
    save(file, {'conv.weight': torch.zeros(2)})


def _detection_only(file, state):
    """Without masks."""
    kept = {
        k: v
        for k, v in state.items()
        if 'mask_embed' not in k and 'pixel_decoder' not in k
    }
    save(file, kept)


def _one_missing(file, state):
    state.pop('modelStudent.backbone.res3.1.conv2.weight')
    save(file, state)


def _one_more(file, state):
    state['modelStudent.adapter.weight'] = torch.zeros(2)
    save(file, state)


def _other_shape(file, state):
    name = 'modelStudent.sem_seg_head.predictor.query_embed.weight'
    state[name] = state[name][:3]
    save(file, state)


def _no_dictionary(file, state):
    torch.save([torch.zeros(2)], file)


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (_truncated, 'cannot be read'),
        (_foreign, "not Mask2Former's: conv.weight"),
        (_detection_only, 'not a whole Mask2Former'),
        (_one_missing, r'missing \[.backbone.layer2.1.conv2.weight'),
        (_one_more, "not Mask2Former's: adapter.weight"),
        (_other_shape, r'another shape \[.panoptic_head.query_embed'),
        (_no_dictionary, 'holds a list'),
    ],
)
def test_bad_file__nothing_is_written(tmp_path, change, word):
    file, state, _ = released(tmp_path)
    change(file, state)
    target = tmp_path / 'out/converted.pth'
    with pytest.raises(ValueError, match=word):
        detectron2_to_mmdet(file, target)
    assert not target.parent.exists()


def test_bad_wish(tmp_path):
    """Another number of classes; a teacher of a plain file."""
    file, _, net = released(tmp_path)
    target = tmp_path / 'out/converted.pth'
    config = ROOT / 'configs/supervised/supervised_coco_10p.py'
    with pytest.raises(ValueError, match='has 8 classes, the config 80'):
        detectron2_to_mmdet(file, target, config=config)
    with pytest.raises(ValueError, match='no state_dict'):
        mmdet_to_detectron2(file, target)
    save(file, keys.to_detectron2(net.state_dict()))
    with pytest.raises(ValueError, match='there is no teacher'):
        detectron2_to_mmdet(file, target, model='teacher')
    with pytest.raises(FileNotFoundError, match=r'none\.pth does not exist'):
        mmdet_to_detectron2('none.pth', target)
    assert not target.parent.exists()


@pytest.mark.parametrize('convert', [detectron2_to_mmdet, mmdet_to_detectron2])
def test_target__is_not_the_name_of_the_config(tmp_path, convert):
    """The config would be written over the weights."""
    file, _, _ = released(tmp_path)
    with pytest.raises(ValueError, match=r'x\.py is the name of a config'):
        convert(file, tmp_path / 'x.py')
    assert not (tmp_path / 'x.py').exists()
