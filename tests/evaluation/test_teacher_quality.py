# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels of a live teacher beside the ground truth."""

from __future__ import annotations

import json

import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import MODELS
from s4m.evaluation import TeacherQuality, quality_of_teacher
from s4m.evaluation.teacher_quality import unlabeled_indices

GROUND_TRUTH = 'annotations/instancesonly_filtered_gtFine_train.json'


@pytest.fixture
def config(shapes_config, tmp_path):
    """S4M with a random teacher that labels every query that names a class."""
    cfg = shapes_config('s4m_shapes_5p')
    model = MODELS.build(shapes_config('supervised_shapes_5p').model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 't.pth')
    cfg.model.teacher_checkpoint = str(tmp_path / 't.pth')
    cfg.model.pseudo_labeler.cls_thr = 0.0
    return cfg


def test_quality__labelled_images_are_left_out(config, shapes_root):
    gt = shapes_root / GROUND_TRUTH
    figures, picture = quality_of_teacher(config, gt, num_pictures=2)
    labeled = json.loads(
        (shapes_root / 'annotations/semi/seed0@5.json').read_text()
    )
    assert figures['images'] == 12 - len(labeled['images'])
    assert figures['pseudo_labels'] > 0
    assert 0 <= figures['refined_mask_iou'] <= 100
    assert figures['teacher_mask_iou'] != figures['refined_mask_iou']
    assert all(v >= 0 for v in figures['mask_ap'].values())
    assert picture.shape[1:] == (3 * 128, 3) and picture.shape[0] % 64 == 0
    few, _ = quality_of_teacher(config, gt, limit=3)
    assert few['images'] <= 3


def test_quality__teacher_that_labels_nothing(config, shapes_root):
    config.model.pseudo_labeler.cls_thr = 1.0
    figures, picture = quality_of_teacher(
        config, shapes_root / GROUND_TRUTH, num_pictures=2, limit=4
    )
    assert picture is None and figures['pseudo_labels'] == 0
    assert set(figures['mask_ap'].values()) == {0}


def test_quality__of_what_the_refiner_keeps(config, shapes_root):
    """Masks of teacher and segmenter are compared label by label."""
    gt = shapes_root / GROUND_TRUTH
    every, _ = quality_of_teacher(config, gt, limit=4)
    config.model.refiner.update(nms_iou_thr=0.5)
    some, _ = quality_of_teacher(config, gt, limit=4)
    assert 0 < some['pseudo_labels'] < every['pseudo_labels']
    config.model.refiner.update(min_refine_iou=1.0)
    none, _ = quality_of_teacher(config, gt, limit=4)
    assert none['pseudo_labels'] == 0


def test_quality__bad_input(config, shapes_root, tmp_path):
    data = json.loads((shapes_root / GROUND_TRUTH).read_text())
    empty = tmp_path / 'empty.json'
    empty.write_text(json.dumps(dict(data, annotations=[])))
    with pytest.raises(ValueError, match=r'empty\.json has no instance'):
        quality_of_teacher(config, empty, limit=2)
    config.model.teacher_checkpoint = None
    with pytest.raises(ValueError, match='names no teacher'):
        quality_of_teacher(config, empty)


def test_unlabeled__names_that_end_alike(coco_file):
    """The same image is the same path: 11.jpg is not 1.jpg."""
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
    few = coco_file(few, 'labeled.json')
    assert unlabeled_indices(dataset, few) == [1, 2]


def test_live_quality__as_of_a_checkpoint(config, shapes_root, shapes_config):
    """The teacher that trains is compared as a loaded one is."""
    gt = shapes_root / GROUND_TRUTH
    figures, _ = quality_of_teacher(config, gt)
    # Without a refiner: quality_of_teacher counts the teacher's masks.
    plain = shapes_config('guided_distillation_shapes_5p')
    plain.model.pseudo_labeler.cls_thr = 0.0
    model = MODELS.build(plain.model).eval()
    state = torch.load(config.model.teacher_checkpoint)['state_dict']
    model.teacher.load_state_dict(state)
    quality = TeacherQuality(plain, gt, 1000)
    before = torch.get_rng_state()
    measured = quality.measure(model)
    assert measured == quality.measure(model)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in measured.items():
        assert value == pytest.approx(figures[name], abs=0.006)
    labels = ('matched', 'second', 'without_object')
    total = sum(measured[name] for name in labels)
    assert total == pytest.approx(figures['per_image'], abs=0.006)
    assert len(TeacherQuality(plain, gt, 3)._indices) == 3
    labeled = shapes_root / 'annotations/semi/seed0@5.json'
    with pytest.raises(ValueError, match='has no unlabelled image'):
        TeacherQuality(plain, labeled, 3)
