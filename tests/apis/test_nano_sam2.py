# SPDX-License-Identifier: Apache-2.0
"""Training of the nano SAM 2: its scenes, losses and resumption."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from s4m.apis import nano_sam2
from s4m.apis.nano_sam2 import evaluate, mask_losses, mean_iou, pretrain
from s4m.datasets.random_scenes import make_batch, shapes_batches


def test_batch__prompts_are_on_their_objects():
    batch = make_batch(np.random.default_rng(0), 2, 4, 3)
    num = len(batch['masks'])
    assert 1 <= num <= 8 and batch['rgb'].shape == (2, 3, 256, 256)
    for mask, points, box in zip(
        batch['masks'], batch['points'].long(), batch['boxes'], strict=True
    ):
        assert mask.sum() >= 200
        assert mask[points[:, 1], points[:, 0]].all()
        y, x = torch.nonzero(mask, as_tuple=True)
        tight = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1])
        assert (box - tight).abs().max() < 0.2 * 256


def test_mask_losses__perfect_and_inverted():
    target = torch.zeros(1, 8, 8)
    target[:, :4] = 1
    logits = torch.stack([target, 1 - target], 1) * 40 - 20
    losses, ious = mask_losses(logits, target)
    assert losses[0, 0] < 1e-4 < losses[0, 1]
    assert ious.tolist() == [[1, 0]]


def test_training__stops_and_goes_on(tmp_path, monkeypatch, capsys):
    evaluated = []
    monkeypatch.setattr(nano_sam2, 'mean_iou', lambda *_: {'miou_box': 0.5})
    monkeypatch.setattr(
        nano_sam2, 'evaluate', lambda file, shapes: evaluated.append(file)
    )
    options = dict(images=1, masks=2, quiet=True, steps=2)
    out = pretrain(tmp_path, **options)
    assert evaluated == [out]
    state = torch.load(out, weights_only=True)['model']
    assert all(v.dtype == torch.float16 for v in state.values())
    (row,) = (tmp_path / 'train_log.jsonl').read_text().splitlines()
    assert json.loads(row)['step'] == 2
    pretrain(tmp_path, **options)
    assert 'resumed at step 2' in capsys.readouterr().out


def test_shapes_batches__a_missing_picture_is_named(tmp_path):
    """OpenCV gives None, which failed with a TypeError."""
    folder = tmp_path / 'gtFine/val/city'
    folder.mkdir(parents=True)
    ids = np.full((32, 32), 24000, np.uint16)
    cv2.imwrite(str(folder / 'a_gtFine_instanceIds.png'), ids)
    with pytest.raises(ValueError, match=r'a_leftImg8bit\.png cannot be read'):
        list(shapes_batches(tmp_path))


def test_evaluation__of_the_shipped_one(nano_segmenter, shapes_root, tmp_path):
    found = mean_iou(nano_segmenter, list(shapes_batches(shapes_root))[:2])
    assert found['num_objects'] > 0 and found['miou_box'] > 0.5
    with pytest.raises(FileNotFoundError, match=r'make_shapes\.py'):
        list(shapes_batches(tmp_path))
    with pytest.raises(FileNotFoundError, match=r'none\.pt'):
        evaluate(tmp_path / 'none.pt')
