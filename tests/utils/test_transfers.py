# SPDX-License-Identifier: Apache-2.0
"""Batches are copied to the device as a whole."""

from __future__ import annotations

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from s4m.utils import transfers
from s4m.utils.transfers import to_device, tree_to_device


@pytest.fixture
def packed(monkeypatch):
    """Pack for the CPU as for a device, and count the buffers."""
    buffers = []
    empty = torch.empty

    def pinned(*args, pin_memory, **kwargs):
        buffers.append(empty(*args, **kwargs))
        return buffers[-1]

    class Other(str):
        type = 'other'

    monkeypatch.setattr(transfers.torch, 'empty', pinned)
    monkeypatch.setattr(transfers.torch, 'device', Other)
    return buffers


VALUES = (
    torch.arange(7, dtype=torch.uint8),
    torch.rand(3, 5).mT,  # Not contiguous.
    torch.tensor([True, False, True]),
    torch.zeros(0, 4),
    torch.tensor(2**40),
    torch.rand(2, 3, dtype=torch.float16),
)


def test_pack__gives_equal_tensors_in_one_buffer(packed):
    moved = to_device(VALUES, 'cpu')
    assert len(packed) == 1
    for value, copied in zip(VALUES, moved, strict=True):
        assert copied.dtype == value.dtype
        assert torch.equal(copied, value)


def test_tree__keeps_its_structure(packed):
    boxes = HorizontalBoxes(torch.rand(2, 4))
    masks = BitmapMasks([], 4, 4)
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
    assert len(packed) == 1
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


def test_pack__nothing_to_copy(packed):
    assert to_device([], 'cpu') == []
    (empty,) = to_device([torch.zeros(0, 2)], 'cpu')
    assert empty.shape == (0, 2)
    assert not packed
