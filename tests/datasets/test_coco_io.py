# SPDX-License-Identifier: Apache-2.0
"""Files in COCO's format: ids, bad files, and pycocotools as the judge."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from s4m.datasets.coco_io import (
    annotation,
    collect,
    encode_masks,
    instance_annotations,
    read_coco,
    write_coco,
)


def _results():
    """Two images of one square each."""
    for x in (0, 6):
        mask = np.zeros((1, 12, 12), bool)
        mask[:, 2:8, x : x + 6] = True
        (rle,) = encode_masks(mask)
        image = dict(file_name=f'{x}.png', height=12, width=12)
        yield image, [annotation(None, 3, rle)]


@pytest.mark.parametrize('first', [None, 0])
def test_ids__perfect_predictions_have_ap_1(tmp_path, first):
    """pycocotools counts a match with an annotation of the id 0 as a miss."""
    images, annotations = collect(_results())
    assert [i['id'] for i in images] == [0, 1]
    assert [a['id'] for a in annotations] == [1, 2]
    for number, entry in enumerate(annotations):
        entry.pop('id')
        if first is not None:
            entry['id'] = first + number
    file = tmp_path / 'new/ann.json'
    write_coco(
        file,
        images=images,
        annotations=annotations,
        categories=[dict(id=3, name='square')],
        info=dict(year=2026),
    )
    assert read_coco(file)['info'] == dict(year=2026)
    gt = COCO(str(file))
    results = [dict(a, score=0.9) for a in gt.dataset['annotations']]
    evaluation = COCOeval(gt, gt.loadRes(results), 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_ids__of_others_are_kept(tmp_path):
    entries = [dict(id=90, image_id=1), dict(id=7, image_id=1)]
    file = tmp_path / 'ann.json'
    write_coco(file, images=[], annotations=entries, categories=[])
    assert read_coco(file)['annotations'] == entries


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"images": [', 'is not a JSON file'),
        ('[1]', 'holds a list'),
        (json.dumps(dict(images=[])), "no list 'categories'"),
        (json.dumps(dict(images={}, categories=[])), "no list 'images'"),
    ],
)
def test_read__bad_files_are_named(tmp_path, content, message):
    file = tmp_path / 'bad.json'
    file.write_text(content)
    with pytest.raises(ValueError, match=rf'bad\.json .*{message}'):
        read_coco(file)
    with pytest.raises(FileNotFoundError, match=r'none\.json does not exist'):
        read_coco(tmp_path / 'none.json')


def test_instances__best_first_without_empty_masks():
    masks = torch.zeros(3, 4, 5, dtype=torch.bool)
    masks[0, :2] = masks[2, 1:3, 1:3] = True
    pred = InstanceData(
        masks=masks,
        labels=torch.tensor([0, 1, 1]),
        scores=torch.tensor([0.2, 0.9, 0.7]),
    )
    first, second = instance_annotations(pred, 8, [30, 40])
    assert (first['category_id'], first['score']) == (40, 0.7)
    assert (first['image_id'], first['area']) == (8, 4)
    assert first['bbox'] == [1, 1, 2, 2]
    assert (second['category_id'], second['area']) == (30, 10)
