# SPDX-License-Identifier: Apache-2.0
"""Batches are copied to the device as a whole."""

from __future__ import annotations

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from s4m.utils import transfers
from s4m.utils.transfers import to_device, tree_to_device

VALUES = (
    torch.arange(7, dtype=torch.uint8),
    torch.rand(3, 5).mT,  # Not contiguous.
    torch.tensor([True, False, True]),
    torch.zeros(0, 4),
    torch.tensor(2**40),
    torch.rand(2, 3, dtype=torch.float16),
)


def test_pack__gives_equal_tensors_in_one_buffer():
    buffer = transfers._pack(VALUES, pin_memory=False)
    assert buffer.dim() == 1
    moved = transfers._unpack(buffer.clone(), VALUES)
    for value, copied in zip(VALUES, moved, strict=True):
        assert copied.dtype == value.dtype
        assert torch.equal(copied, value)


def test_tree__keeps_its_structure(monkeypatch):
    copies = []

    def copy(values, device):
        copies.append(len(values))
        return [value.clone() for value in values]

    monkeypatch.setattr(transfers, 'to_device', copy)
    boxes = HorizontalBoxes(torch.rand(2, 4))
    masks = BitmapMasks(np.zeros((2, 4, 4), np.uint8), 4, 4)
    sample = DetDataSample(
        metainfo=dict(img_shape=(4, 4)),
        gt_instances=InstanceData(
            labels=torch.tensor([1, 2]), bboxes=boxes, masks=masks
        ),
    )
    image = torch.randint(0, 256, (3, 4, 4)).byte()
    batch = dict(
        inputs=dict(sup=[image, None], other=(image,)),
        data_samples=dict(sup=[sample, None], other=(sample,)),
        name='x',
    )
    moved = tree_to_device(batch, 'cpu')
    assert copies == [6]  # Two images; labels and boxes, twice.
    assert moved['name'] == 'x'
    assert moved['inputs']['sup'][1] is None
    assert isinstance(moved['inputs']['other'], tuple)
    assert torch.equal(moved['inputs']['sup'][0], image)
    new = moved['data_samples']['sup'][0]
    assert type(new) is DetDataSample and new is not sample
    assert new.img_shape == (4, 4)
    assert type(new.gt_instances.bboxes) is HorizontalBoxes
    assert torch.equal(new.gt_instances.bboxes.tensor, boxes.tensor)
    assert new.gt_instances.masks is masks
    assert new.gt_instances.labels.tolist() == [1, 2]
    assert sample.gt_instances.bboxes is boxes


def test_pack__nothing_to_copy():
    assert to_device([], 'cpu') == []
    assert transfers._unpack(transfers._pack([], False), []) == []
