# SPDX-License-Identifier: Apache-2.0
"""The contract of pseudo-labels, and targets made of them."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import InstanceData
from s4m.structures import (
    check_pseudo_instances,
    join_instances,
    project_pseudo_instances,
    replace_fields,
)
from s4m.structures.pseudo_instances import FIELDS, detector_targets

SIZE = (32, 64)


def _item(num: int = 2, **changes) -> InstanceData:
    """Pseudo-labels with every field, masks at a quarter of the image."""
    logits = torch.full((num, 8, 16), -1.0)
    logits[:, 2:5, 3:9] = 1
    fields = dict(
        labels=torch.arange(num),
        scores=torch.linspace(0.5, 0.9, num),
        masks=logits > 0,
        mask_logits=logits,
        weights=torch.linspace(0.1, 0.2, num),
        refined=torch.ones(num, dtype=torch.bool),
        refine_iou=torch.ones(num),
        pasted=torch.zeros(num, dtype=torch.bool),
    )
    return InstanceData(**(fields | changes))


def test_check__what_the_steps_give():
    assert set(_item().keys()) == set(FIELDS)
    check_pseudo_instances([_item(), _item(0)], SIZE)
    # After refinement masks have the size of the image.
    check_pseudo_instances([_item(masks=torch.ones(2, *SIZE).bool())], SIZE)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(labels=torch.zeros(2)), "'labels' .* image 1 .*kind int"),
        (dict(masks=torch.ones(2, 8, 16)), "'masks' .*kind bool"),
        (dict(masks=torch.ones(2, 9, 16).bool()), r'\(9, 16\) .*\(32, 64\)'),
        (dict(weights=torch.ones(2, 1)), "'weights' .*2 dimensions"),
        (dict(refined=torch.ones(2)), "'refined' .*kind bool"),
    ],
)
def test_check__names_what_is_wrong(changes, message):
    with pytest.raises(ValueError, match=message):
        check_pseudo_instances([_item(), _item(**changes)], SIZE)


@pytest.mark.parametrize('name', ['labels', 'scores', 'masks'])
def test_check__a_field_that_is_missing(name):
    item = _item()
    item.pop(name)
    with pytest.raises(ValueError, match=f"no field '{name}'"):
        check_pseudo_instances([item], SIZE)


def test_replace__leaves_the_original_alone():
    item = _item()
    new = replace_fields(item, scores=torch.zeros(2))
    assert item.scores.tolist() == pytest.approx([0.5, 0.9])
    assert new.scores.tolist() == [0, 0]
    assert new.masks is item.masks
    new.extra = torch.ones(2)
    assert 'extra' not in item


def test_join__what_both_have():
    first, second = _item(1), _item(2)
    second.pop('refined')
    both = join_instances(first, second)
    assert set(both.keys()) == set(FIELDS) - {
        'masks',
        'mask_logits',
        'refined',
    }
    assert both.labels.tolist() == [0, 0, 1]
    assert both.weights.tolist() == pytest.approx([0.1, 0.1, 0.2])


class TestProject:
    """Targets keep scores and weights, and nothing of the steps."""

    def test_tensor__nearest_at_the_teachers_size(self):
        masks = torch.rand(2, *SIZE) > 0.5
        items = [_item(masks=masks), _item(0)]
        targets = project_pseudo_instances(items, SIZE, 'tensor', (8, 16))
        assert set(targets[0].keys()) == {
            'labels',
            'masks',
            'scores',
            'weights',
        }
        assert torch.equal(targets[0].masks, masks[:, ::4, ::4])
        assert targets[0].weights.tolist() == pytest.approx([0.1, 0.2])
        assert targets[1].masks.shape == (0, 8, 16)

    def test_bitmap__without_empty_masks(self):
        masks = torch.zeros(3, *SIZE, dtype=torch.bool)
        masks[0, 2:5, 3:9] = masks[2, 7, 11] = True
        (target,) = project_pseudo_instances(
            [_item(3, masks=masks)], SIZE, 'bitmap', (8, 16)
        )
        assert target.labels.tolist() == [0, 2]
        assert target.bboxes.tolist() == [[3, 2, 9, 5], [11, 7, 12, 8]]
        assert target.weights.tolist() == pytest.approx([0.1, 0.2])
        assert target.scores.tolist() == pytest.approx([0.5, 0.9])
        assert target.masks.masks.sum((1, 2)).tolist() == [18, 1]

    def test_without_weights(self):
        item = _item()
        item.pop('weights')
        (target,) = project_pseudo_instances([item], SIZE, 'tensor', (8, 16))
        assert set(target.keys()) == {'labels', 'masks', 'scores'}

    def test_unknown_kind(self):
        with pytest.raises(ValueError, match='target_masks'):
            project_pseudo_instances([_item()], SIZE, 'polygon', (8, 16))


def test_detector_targets__boxes_of_masks():
    masks = torch.zeros(3, 8, 12, dtype=torch.bool)
    masks[0, 2:5, 3:9] = masks[2, 7, 11] = True
    item = InstanceData(labels=torch.tensor([4, 5, 6]), masks=masks)
    out = detector_targets(item, (8, 12))
    assert out.labels.tolist() == [4, 6]
    assert out.bboxes.tolist() == [[3, 2, 9, 5], [11, 7, 12, 8]]
    assert out.masks.masks.sum((1, 2)).tolist() == [18, 1]
    mmdet_boxes = out.masks.get_bboxes(dst_type='hbox').tensor
    torch.testing.assert_close(out.bboxes, mmdet_boxes)
