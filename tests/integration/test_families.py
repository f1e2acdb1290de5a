# SPDX-License-Identifier: Apache-2.0
"""A nano variant of every family trains, stops and goes on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.runner import Runner
from nano import nano
from PIL import Image
from pycocotools import mask as mask_utils
from s4m.apis.training import run_training


def _train(cfg: Config, iters: int, resume: bool = False) -> Runner:
    cfg = cfg.copy()
    cfg.train_cfg.max_iters = iters
    cfg.default_hooks.checkpoint.update(interval=iters, save_best=None)
    cfg.resume = resume
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def _train_and_resume(cfg: Config) -> Runner:
    _train(cfg, 2)
    runner = _train(cfg, 3, resume=True)
    assert runner.iter == 3
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    return runner


def _semi(shapes_config) -> Config:
    """Guided Distillation on Shapes, averaging from iteration 0 on."""
    cfg = shapes_config('guided_distillation_shapes_5p')
    cfg.model.teacher_checkpoint = None
    cfg.model.pseudo_labeler.cls_thr = 0.0
    cfg.default_hooks.mean_teacher.burn_in = 0
    cfg.train_dataloader.update(batch_size=4)
    cfg.train_dataloader.sampler.update(num_labeled=2, num_unlabeled=2)
    cfg.train_cfg.val_begin = 1000
    return cfg


VIT = dict(
    type='ViTFeaturePyramid',
    arch='vit_tiny_patch16_224',
    out_channels=32,
)
SWIN = dict(
    type='SwinTransformer',
    embed_dims=16,
    depths=[1, 1, 1, 1],
    num_heads=[1, 1, 2, 2],
    window_size=4,
)


@pytest.mark.parametrize(
    ('backbone', 'channels'),
    [
        (VIT, [32] * 4),
        (dict(VIT, frozen=True), [32] * 4),
        (dict(VIT, with_cp=True), [32] * 4),
        (SWIN, [16, 32, 64, 128]),
    ],
    ids=['vit', 'frozen_vit', 'vit_cp', 'swin'],
)
def test_backbones(shapes_config, backbone, channels):
    cfg = _semi(shapes_config)
    cfg.model.detector.backbone = backbone
    cfg.model.detector.panoptic_head.in_channels = channels
    runner = _train_and_resume(cfg)
    trained = {
        id(p)
        for group in runner.optim_wrapper.optimizer.param_groups
        for p in group['params']
    }
    if backbone.get('frozen'):
        vit = runner.model.student.backbone.vit
        assert not any(id(p) in trained for p in vit.parameters())
        assert not any(
            p in runner.optim_wrapper.optimizer.state for p in vit.parameters()
        )
        for a, b in zip(
            vit.parameters(),
            runner.model.teacher.backbone.vit.parameters(),
            strict=True,
        ):
            assert torch.equal(a, b)
    else:
        backbone = runner.model.student.backbone
        assert all(id(p) in trained for p in backbone.parameters())


@pytest.mark.parametrize('name', ['MaskRCNN', 'RTMDet', 'MaskFormer'])
def test_mixing(shapes_config, name):
    cfg = _semi(shapes_config)
    cfg.model.detector = nano(name)
    preprocessor = dict(cfg.model.detector.data_preprocessor)
    preprocessor['type'] = 'SemiDataPreprocessor'
    cfg.model.data_preprocessor = preprocessor
    if name != 'MaskFormer':
        # An untrained detector finds objects everywhere.
        cfg.model.detector.test_cfg.get(
            'rcnn', cfg.model.detector.test_cfg
        ).max_per_img = 10
        cfg.model.pseudo_labeler = dict(
            type='PredictionPseudoLabeler', score_thr=0.0
        )
    _train_and_resume(cfg)


# ------------------------------------------------------------------ SSKD
@pytest.fixture
def sskd(shapes_config, shapes_root):
    """A stage; the truth of all images stands for pseudo-labels."""

    def make(stage: str) -> Config:
        cfg = shapes_config(f'sskd_{stage}_shapes_5p')
        if 'pseudo_labels' in cfg:
            folder = shapes_root / 'annotations'
            file = folder / 'instancesonly_filtered_gtFine_train.json'
            cfg.train_dataloader.dataset.unlabeled.ann_file = str(file)
            cfg.train_dataloader.batch_size = 4
            cfg.train_dataloader.sampler.update(num_labeled=2, num_unlabeled=2)
        cfg.train_cfg.val_begin = 1000
        if 'contrast_log' in cfg.default_hooks:
            cfg.default_hooks.contrast_log.interval = 1
        return cfg

    return make


@pytest.mark.parametrize(
    'stage', ['teacher_supervised', 'teacher_selftrain', 'distill']
)
def test_sskd__stages(sskd, stage):
    cfg = sskd(stage)
    if stage == 'teacher_selftrain':
        # An untrained detector has no box with a score of 0.05.
        cfg.model.test_cfg.score_thr = 0.0
        cfg.model.detector.test_cfg.score_thr = 0.0
    scalars = _train_and_resume(cfg).message_hub.log_scalars
    if 'loss_contrast' in cfg.model:
        assert scalars['train/loss_contrast'].current() > 0
        assert -1 <= scalars['train/contrast/margin'].current() <= 2
        for name in ('fnr_pred', 'fnr_gt'):
            assert 0 <= scalars[f'train/contrast/{name}'].current() <= 1


@pytest.mark.parametrize('joint', [False, True])
def test_sskd__resume_is_exact(sskd, joint):
    """With a temperature that changes; of fixed shares, and of one set, where
    some batches of two have no labelled image."""
    losses, branches = [], []
    for resumed in (False, True):
        cfg = sskd('distill')
        cfg.work_dir += f'_{resumed}'
        cfg.model.loss_contrast.update(
            temperature=(0.3, 0.07), schedule_iters=4
        )
        if joint:
            cfg.model.joint = True
            cfg.train_dataloader.sampler = dict(type='SemiSampler')
            cfg.train_dataloader.batch_size = 2
        if resumed:
            _train(cfg, 2)
        runner = _train(cfg, 3, resume=resumed)
        contrast = runner.model.loss_contrast
        assert contrast.iteration == 3
        losses.append(runner.message_hub.get_scalar('train/loss').data[0][-1])
        names = runner.message_hub.log_scalars
        branches.append('train/sup_loss_cls' in names)
    assert losses[0] == losses[1]
    assert branches == [not joint] * 2


def test_sskd__refinement_starts_from_the_student(sskd):
    """Its projection head is left behind; nothing else is."""
    cfg = sskd('distill')
    _train(cfg, 1)
    refine = sskd('refine')
    refine.load_from = f'{cfg.work_dir}/iter_1.pth'
    refine.optim_wrapper.optimizer.lr = 0.0
    model = _train(refine, 1).model
    state = torch.load(refine.load_from, weights_only=False)['state_dict']
    own = model.state_dict()
    extra = {k for k in state if k not in own}
    assert extra and all(k.startswith('loss_contrast.') for k in extra)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, state[name]), name


# ------------------------------------------------------------------ COCO
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
    runner = _train_and_resume(cfg)
    dataset = runner.train_dataloader.dataset
    labeled = getattr(dataset, 'datasets', [dataset])[0]
    # The crowd and the empty image are no labelled images.
    assert len(labeled) == 6 - (len(labeled) == 5)
    scalars = runner.message_hub.log_scalars
    assert any('segm_mAP' in key for key in scalars)
    if 'copy_paste' in cfg.model and cfg.model.copy_paste:
        assert scalars['train/num_pseudo'].current() > 0


# ------------------------------------------------------- options of MMEngine
def _losses(cfg: Config, iters: int = 2) -> list[float]:
    """Total loss of each iteration."""
    runner = _train(cfg, iters)
    return list(runner.message_hub.get_scalar('train/loss').data[0])


def test_activation_checkpointing__same_losses(shapes_config):
    plain, saving = _semi(shapes_config), _semi(shapes_config)
    saving.model.detector.backbone.with_cp = True
    for cfg in (plain, saving):
        # The second pass moves the statistics of batch normalisation again (as
        # in MMDet), and with them the averaged teacher's labels.
        cfg.default_hooks.mean_teacher.update(burn_in=0, momentum=1e-6)
    a, b = _losses(plain), _losses(saving)
    assert b == pytest.approx(a, rel=1e-5)


def test_accumulation__same_losses_until_the_first_step(shapes_config):
    """The third iteration is the first that a step of two has changed."""
    plain, saving = _semi(shapes_config), _semi(shapes_config)
    for cfg in (plain, saving):
        cfg.model.strong_augment = None
        # Statistics of batch normalisation move in every iteration.
        cfg.default_hooks.mean_teacher.update(burn_in=0, momentum=1e-6)
    saving.optim_wrapper.accumulative_counts = 2
    a, b = _losses(plain, 3), _losses(saving, 3)
    # MMEngine divides the loss, not the logged one.
    assert b[0] == pytest.approx(a[0], rel=1e-5)
    assert b[1] != pytest.approx(a[1], rel=1e-5)
    assert all(np.isfinite(b))


def test_early_stopping_and_tensorboard(shapes_config):
    cfg = _semi(shapes_config)
    cfg.train_cfg.update(val_begin=1, val_interval=1)
    cfg.val_cfg = dict(type='TeacherStudentValLoop')
    cfg.default_hooks.early_stopping = dict(
        type='EarlyStoppingHook',
        monitor='student/coco/segm_mAP',
        rule='greater',
        patience=1,
        min_delta=1.0,
    )
    cfg.visualizer.vis_backends = [
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend'),
    ]
    cfg.default_hooks.checkpoint.save_best = 'student/coco/segm_mAP'
    runner = Runner.from_cfg(cfg)
    run_training(runner)
    assert runner.iter == 2  # of 4
    work_dir = Path(cfg.work_dir)
    note = json.loads((work_dir / 'stopped_early.json').read_text())
    assert note == dict(iteration=2)
    assert list(work_dir.rglob('events.out.tfevents*'))
    assert list(work_dir.glob('best_student_coco_segm_mAP_iter_*.pth'))
