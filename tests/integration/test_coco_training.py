# SPDX-License-Identifier: Apache-2.0
"""COCO's configs train on all kinds of its files."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from conftest import ROOT
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as mask_utils
from short_trainings import train_and_resume


@pytest.fixture
def coco_root(tmp_path):
    """COCO's layout with the kinds of files and masks that there are."""
    root = tmp_path / 'coco'
    for folder in ('train2017', 'val2017', 'annotations', 'semi_anns'):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []

    def add(number: int, annotated: list[dict]) -> None:
        images.append(
            dict(id=number, file_name=f'{number}.png', height=48, width=64)
        )
        for annotation in annotated:
            annotations.append(
                dict(
                    dict(iscrowd=0, bbox=[8, 8, 24, 24], area=576),
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=1 + number % 5,
                    **annotation,
                )
            )

    polygon = dict(segmentation=[[8, 8, 32, 8, 32, 32, 8, 32]])
    mask = np.zeros((48, 64), np.uint8, order='F')
    mask[8:32, 8:32] = 1
    rle = mask_utils.encode(mask)
    rle['counts'] = rle['counts'].decode()
    add(1, [polygon])
    add(2, [dict(segmentation=rle), polygon])
    add(3, [polygon])
    add(4, [polygon])
    add(5, [polygon])
    add(6, [dict(segmentation=rle, iscrowd=1)])  # a crowd only
    add(7, [])
    pixels = rng.integers(0, 255, (48, 64, 3), np.uint8)
    for folder in ('train2017', 'val2017'):
        for number in (1, 2, 6, 7):
            cv2.imwrite(str(root / folder / f'{number}.png'), pixels)
        gray = pixels[..., 0]
        cv2.imwrite(str(root / folder / '3.png'), gray)
        deep = gray.astype(np.uint16) * 257
        cv2.imwrite(str(root / folder / '4.png'), deep)
        # What a name says is not what a file is.
        cmyk = Image.fromarray(pixels).convert('CMYK')
        cmyk.save(root / folder / '5.png', format='JPEG')
    classes = Config.fromfile(ROOT / 'configs/s4m_coco_10p.py')
    del classes
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO['classes']
    data = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=i + 1, name=n) for i, n in enumerate(names)],
    )
    empty = dict(data, annotations=[])
    for name, content in (
        ('annotations/instances_train2017.json', data),
        ('annotations/instances_val2017.json', data),
        ('semi_anns/instances_train2017.1@10.json', data),
        ('semi_anns/instances_train2017.1@10-unlabeled.json', empty),
        ('semi_anns/instances_train2017.all-unlabeled.json', empty),
    ):
        (root / name).write_text(json.dumps(content))
    return root


def _shrink(node, root: str) -> None:
    """COCO's pipelines at a sixteenth of their size, on the small data."""
    if isinstance(node, list | tuple):
        for value in node:
            _shrink(value, root)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if isinstance(value, str) and value.startswith('data/coco/'):
            node[key] = value.replace('data/coco/', root + '/')
        elif key in ('crop_size', 'size', 'scale') and len(value) == 2:
            node[key] = tuple(v // 16 for v in value)
        else:
            _shrink(value, root)


@pytest.mark.parametrize(
    'name',
    [
        'supervised/supervised_coco_10p',
        's4m_teacher_coco_10p',
        'guided_distillation/guided_distillation_coco_10p',
        's4m_coco_10p',
    ],
)
def test_coco(coco_root, tmp_path, name):
    """Large-scale jitter, padding, dynamic copy-paste; all kinds of files."""
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    _shrink(cfg._cfg_dict, str(coco_root))
    nano_cfg = Config.fromfile(
        ROOT / 'configs/_base_/models/mask2former_nano.py'
    ).model
    detector = cfg.model.get('detector', cfg.model)
    detector.backbone = nano_cfg.backbone
    nano_cfg.panoptic_head.num_things_classes = 80
    nano_cfg.panoptic_head.loss_cls.class_weight = [1.0] * 80 + [0.1]
    detector.panoptic_head = nano_cfg.panoptic_head
    detector.train_cfg = nano_cfg.train_cfg
    detector.test_cfg = nano_cfg.test_cfg
    if 'segmenter' in detector:
        detector.segmenter.update(config='nano_sam2', checkpoint='nano_sam2')
        detector.points_per_image = 8
    if 'detector' in cfg.model:
        cfg.model.teacher_checkpoint = None
        cfg.model.pseudo_labeler.update(cls_thr=0.0, size_thr=0.0)
        cfg.default_hooks.mean_teacher.burn_in = 0
        cfg.train_dataloader.batch_size = 4
        cfg.train_dataloader.sampler.update(num_labeled=2, num_unlabeled=2)
    if cfg.model.get('refiner'):
        cfg.model.refiner.segmenter.update(
            config='nano_sam2', checkpoint='nano_sam2'
        )
        cfg.model.copy_paste.min_area = 16
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.val_interval = 3
    cfg.work_dir = str(tmp_path / 'work')
    cfg.log_level = 'WARNING'
    runner = train_and_resume(cfg)
    dataset = runner.train_dataloader.dataset
    labeled = getattr(dataset, 'datasets', [dataset])[0]
    # The crowd and the empty image are no labelled images.
    assert len(labeled) == 6 - (len(labeled) == 5)
    scalars = runner.message_hub.log_scalars
    assert any('segm_mAP' in key for key in scalars)
    if 'copy_paste' in cfg.model and cfg.model.copy_paste:
        assert scalars['train/num_pseudo'].current() > 0
