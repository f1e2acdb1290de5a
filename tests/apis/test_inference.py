# SPDX-License-Identifier: Apache-2.0
"""Inference writes pictures and a COCO file."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import CLASSES
from mmdet.registry import MODELS
from pycocotools.coco import COCO
from s4m.apis.inference import infer


@pytest.fixture
def semi_run(shapes_config, tmp_path):
    """Config file and checkpoint of a random semi-supervised model."""
    cfg = shapes_config('guided_distillation_shapes_5p')
    cfg.test_cfg.type = 'TestLoop'
    cfg.dump(str(tmp_path / 'semi.py'))
    torch.manual_seed(3)
    model = MODELS.build(cfg.model)
    meta = dict(dataset_meta=dict(classes=CLASSES, palette='random'))
    file = tmp_path / 'semi.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, file)
    return tmp_path / 'semi.py', file


def test_infer__pictures_and_coco_json(semi_run, shapes_root, tmp_path):
    folder = shapes_root / 'leftImg8bit/val'
    file = infer(folder, *semi_run, tmp_path / 'out', 0.0, 'cpu')
    assert len(list((tmp_path / 'out/vis').iterdir())) == 4
    assert file == tmp_path / 'out/predictions.json'
    coco = COCO(str(file))
    assert len(coco.imgs) == 4
    # pycocotools counts a match with the id 0 as missed.
    assert sorted(coco.anns) == list(range(1, 1 + len(coco.anns)))
    assert coco.anns
    data = json.loads(file.read_text())
    assert data['categories'][0]['name'] == 'person'
    for ann in data['annotations']:
        mask = coco.annToMask(ann)
        assert mask.shape == (64, 128) and mask.sum() == ann['area']
        assert 0 <= ann['score'] <= 1


def test_infer__bad_input(semi_run, shapes_root, tmp_path):
    config, checkpoint = semi_run
    out = tmp_path / 'out'
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='No image'):
        infer(tmp_path / 'empty', config, checkpoint, out)
    folder = shapes_root / 'leftImg8bit/val'
    with pytest.raises(FileNotFoundError, match='does not exist'):
        infer(folder, config, tmp_path / 'none.pth', out)
    (tmp_path / 'empty/a.png').write_text('no image')
    with pytest.raises(ValueError, match='cannot be read as an image'):
        infer(tmp_path / 'empty', config, checkpoint, out, device='cpu')
    assert not (out / 'predictions.json').exists()
    # The other images are predicted before the error.
    image = next(folder.rglob('*.png'))
    (tmp_path / 'empty/b.png').write_bytes(image.read_bytes())
    with pytest.raises(ValueError, match=r'1 of 2 files .*a\.png'):
        infer(tmp_path / 'empty', config, checkpoint, out, device='cpu')
    assert len(COCO(str(out / 'predictions.json')).imgs) == 1
