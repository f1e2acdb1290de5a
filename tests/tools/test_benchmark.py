# SPDX-License-Identifier: Apache-2.0
"""The phase benchmark and the pseudo-label comparison."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_step import COMPARISONS, added_memory_mib, benchmark
from conftest import ROOT
from mmengine.structures import InstanceData
from pseudo_label_quality import (
    Comparison,
    best_overlap,
    measure,
    unlabeled,
)


def test_benchmark__phases_of_s4m(shapes_config):
    cfg = shapes_config('s4m_shapes_5p')
    result = benchmark(cfg, iters=2, warmup=1)
    phases = result['phases']
    assert {
        'data wait',
        'teacher',
        'SAM encode',
        'SAM decode',
        'copy paste',
        'strong augment',
        'student forward',
        'backward',
        'optimiser',
        'EMA',
        'other',
        'whole step',
    } == set(phases)
    parts = sum(v['ms'] for k, v in phases.items() if k != 'whole step')
    assert parts == pytest.approx(phases['whole step']['ms'], abs=1)
    assert result['peak_mib'] > 0


@pytest.mark.parametrize('name', ['pr', 'sd', 'arp', 'gd', 'pxl'])
def test_compare__runs(name, nano_segmenter):
    rows = COMPARISONS[name](
        segmenter=nano_segmenter,
        size=(64, 128),
        repeats=1,
        device='cpu',
        num_points=8,
        gd_config=ROOT
        / 'configs/guided_distillation/guided_distillation_shapes_5p.py',
    )
    assert len(rows) == dict(gd=2, pxl=4).get(name, 3)
    assert all(r['ms'] > 0 and r['peak_mib'] >= 0 for r in rows.values())


def test_added_memory__of_tensors():
    def grow_and_shrink():
        block = torch.ones(64, 2**20, dtype=torch.uint8)  # 64 MiB
        block = block + block  # 128 MiB until the first is gone
        return block[:1].clone()

    assert added_memory_mib(lambda: None) == 0
    assert added_memory_mib(grow_and_shrink) == pytest.approx(128, abs=0.1)


def test_best_overlap__hand_computed():
    objects = torch.zeros(2, 1, 6, dtype=torch.bool)
    objects[0, 0, :2] = objects[1, 0, 3:] = True
    masks = torch.zeros(3, 1, 6, dtype=torch.bool)
    masks[0, 0, 1:4] = masks[1, 0, 3:5] = masks[2, 0, 2] = True
    iou, index = best_overlap(masks, objects)
    assert iou.tolist() == pytest.approx([1 / 4, 2 / 3, 0])
    assert index.tolist() == [0, 1, -1]
    iou, index = best_overlap(masks, objects[:0])
    assert iou.tolist() == [0, 0, 0] and index.tolist() == [-1, -1, -1]


def test_comparison__oracles_hand_computed():
    """Two objects; one label has the wrong class, one a poor mask."""
    objects = torch.zeros(2, 20, 40, dtype=torch.bool)
    objects[0, 2:12, 2:12] = objects[1, 2:12, 22:32] = True
    teacher = objects.clone()
    teacher[1, 2:12, 27:] = False  # half of it: IoU 0.5
    refined = objects.clone()
    refined[1, 2:12, 30:] = False  # IoU 0.8
    item = InstanceData(
        labels=torch.tensor([1, 1]), scores=torch.tensor([0.9, 0.8])
    )
    comparison = Comparison(('a', 'b'))
    crowds = np.zeros((0, 20, 40))
    labels = torch.tensor([0, 1])
    comparison.add(item, teacher, refined, labels, objects, crowds)
    figures = comparison.figures()
    assert figures['class_accuracy'] == 50
    assert figures['teacher_mask_iou'] == 75
    assert figures['refined_mask_iou'] == 90
    # Rows: objects of a and b, nothing; columns: labels a and b.
    assert figures['confusion'] == [[0, 1], [0, 1], [0, 0]]
    assert figures['per_class']['a']['class_accuracy'] == 0
    ap = figures['mask_ap']
    # Class a is never found; b's best label is wrong, so its precision is
    # one half at each IoU that its mask reaches: 7 of 10 after refinement.
    assert ap['teacher_classes_true_masks'] == pytest.approx(25, abs=0.1)
    assert ap['teacher_classes_refined_masks'] == pytest.approx(17.5, abs=0.1)
    assert ap['teacher_classes_teacher_masks'] == pytest.approx(2.5, abs=0.1)
    # With the right classes a is perfect and b reaches 7 of 10.
    assert ap['true_classes_refined_masks'] == pytest.approx(85, abs=0.1)


def test_quality__labelled_images_are_left_out(
    shapes_config, shapes_root, tmp_path
):
    from mmdet.registry import MODELS

    cfg = shapes_config('s4m_shapes_5p')
    model = MODELS.build(shapes_config('supervised_shapes_5p').model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 't.pth')
    cfg.model.teacher_checkpoint = str(tmp_path / 't.pth')
    cfg.model.pseudo_labeler.cls_thr = 0.0
    truth = 'annotations/instancesonly_filtered_gtFine_train.json'
    figures, pictures = measure(cfg, str(shapes_root / truth), 2)
    labeled = json.loads(
        (shapes_root / 'annotations/semi/seed0@5.json').read_text()
    )
    assert figures['images'] == 12 - len(labeled['images'])
    assert figures['pseudo_labels'] > 0
    assert 0 <= figures['refined_mask_iou'] <= 100
    assert all(v >= 0 for v in figures['mask_ap'].values())
    assert all(p.shape == (64, 3 * 128, 3) for p in pictures)


def test_quality__names_that_end_alike(coco_file):
    """The same image is the same path: 11.jpg is not 1.jpg."""
    from mmdet.datasets import CocoDataset

    names = ['1.jpg', '11.jpg', 'b/1.jpg', '2.jpg']
    data = dict(
        images=[
            dict(id=i, file_name=name, height=9, width=9)
            for i, name in enumerate(names)
        ],
        annotations=[],
        categories=[dict(id=1, name='a')],
    )
    dataset = CocoDataset(
        ann_file=coco_file(data),
        data_root='data/x/',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=('a',)),
        test_mode=True,
    )
    few = dict(data, images=[data['images'][0], data['images'][3]])
    assert unlabeled(dataset, Path(coco_file(few, 'labeled.json'))) == [1, 2]
