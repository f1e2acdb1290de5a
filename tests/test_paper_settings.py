# SPDX-License-Identifier: Apache-2.0
"""Settings of the papers, read from the resolved configs."""

from __future__ import annotations

import numpy as np
import pytest
from leaf_configs import CONFIGS, load
from mmdet.registry import TRANSFORMS
from mmengine.config import Config


def test_paper_settings__s4m_cityscapes():
    """The numbers of the paper's table, read from the built config."""
    cfg = load('s4m_cityscapes_10p')
    assert cfg.train_cfg.max_iters == 90000
    assert cfg.optim_wrapper.optimizer.lr == 1e-4
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.01
    assert cfg.default_hooks.mean_teacher == dict(
        type='BurnInMeanTeacherHook', burn_in=15000, momentum=0.0004
    )
    assert cfg.model.semi_train_cfg.unsup_weight == 2
    assert cfg.model.refiner.segmenter.config == 'sam2_hiera_large'
    assert cfg.train_dataloader.sampler.num_labeled == 4
    assert cfg.model.copy_paste.min_area == 3000
    assert cfg.model.detector.train_cfg.num_points == 12544
    teacher = load('s4m_teacher_cityscapes_10p')
    assert teacher.model.points_per_image == 128
    assert teacher.train_dataloader.batch_size == 1


@pytest.mark.parametrize('backbone', ['', 'dinov2_vit_l_', 'swin_l_'])
@pytest.mark.parametrize(
    ('dataset', 'percent', 'burn_in', 'labeled'),
    [
        ('cityscapes', 5, 15000, 'published@5.json'),
        ('cityscapes', 10, 25000, 'published@10.json'),
        ('cityscapes', 20, 30000, 'published@20.json'),
        ('cityscapes', 30, 35000, 'published@30.json'),
        ('cityscapes', 100, 50000, 'filtered_gtFine_train.json'),
        ('coco', 1, 20000, 'instances_train2017.1@1.json'),
        ('coco', 2, 25000, 'instances_train2017.1@2.json'),
        ('coco', 5, 30000, 'instances_train2017.1@5.json'),
        ('coco', 10, 60000, 'instances_train2017.1@10.json'),
    ],
)
def test_paper_settings__guided_distillation(
    backbone, dataset, percent, burn_in, labeled
):
    """Table 2 and section 4.1 of the paper."""
    stem = f'guided_distillation_{backbone}{dataset}_{percent}p'
    path = f'guided_distillation/{stem}'
    cfg = load(path)
    assert cfg.default_hooks.mean_teacher == dict(
        type='BurnInMeanTeacherHook', burn_in=burn_in, momentum=0.0004
    )
    data = cfg.train_dataloader.dataset
    assert data.labeled.ann_file.endswith(labeled)
    assert data.unlabeled.ann_file.endswith('-unlabeled.json')
    extra = dataset == 'cityscapes' and percent == 100
    assert ('train_extra' in data.unlabeled.data_prefix.img) == extra
    iters = 368750 if dataset == 'coco' else 180000 if extra else 90000
    assert cfg.train_cfg.max_iters == cfg.param_scheduler.end == iters
    teacher = f'work_dirs/supervised_{backbone}{dataset}_{percent}p'
    assert cfg.model.teacher_checkpoint == teacher
    head = cfg.model.detector.panoptic_head
    assert head.num_things_classes == (80 if dataset == 'coco' else 8)
    assert head.num_queries == (200 if 'swin_l' in backbone else 100)
    assert cfg.train_dataloader.sampler.num_labeled == 4


def test_paper_settings__s4m_coco():
    cfg = load('s4m_coco_10p')
    assert cfg.default_hooks.mean_teacher.burn_in == 25000
    assert cfg.model.copy_paste.mode == 'dynamic'
    loader = cfg.train_dataloader
    assert (loader.batch_size, loader.sampler.num_labeled) == (6, 3)
    data = loader.dataset
    assert data.unlabeled.ann_file.endswith('train2017.all-unlabeled.json')
    assert cfg.param_scheduler.milestones == [327778, 355092]
    assert cfg.train_cfg.val_interval == 7000
    teacher = load('s4m_teacher_coco_10p')
    assert teacher.train_dataloader.batch_size == 4
    assert teacher.train_cfg.val_interval == 5000
    assert teacher.model.backbone.norm_eval
    assert teacher.test_pipeline[1].scale == (1333, 800)


@pytest.mark.parametrize(
    ('name', 'strategy', 'burn_in', 'teacher'),
    [
        ('no_burn_in', 'guided', 0, False),
        ('standard', 'standard', 15000, False),
        ('fixed_teacher', 'fixed', 15000, True),
    ],
)
def test_paper_settings__strategies(name, strategy, burn_in, teacher):
    path = f'guided_distillation/guided_distillation_{name}_cityscapes_5p'
    cfg = load(path)
    hook = cfg.default_hooks.mean_teacher
    assert hook.get('strategy', 'guided') == strategy
    assert hook.burn_in == burn_in
    assert (cfg.model.teacher_checkpoint is not None) == teacher


def test_crop__is_512_high_and_1024_wide():
    """MMDet's crop_size is (width, height)."""
    cfg = load('s4m_cityscapes_10p')
    labeled = cfg.train_dataloader.dataset.labeled.pipeline
    (crop,) = (t for t in labeled if t.get('resize_type') == 'ResizeCrop')
    image = np.zeros((600, 1300, 3), np.uint8)
    out = TRANSFORMS.build(crop)(dict(img=image))
    assert out['img'].shape == (512, 1024, 3)


@pytest.mark.parametrize(
    ('name', 'arch', 'frozen', 'file'),
    [
        ('dinov2_vit_b', 'vit_base_patch14_dinov2', False, 'vitb14'),
        ('dinov2_vit_l', 'vit_large_patch14_dinov2', False, 'vitl14'),
        ('frozen_dinov2_vit_l', 'vit_large_patch14_dinov2', True, 'vitl14'),
        (
            'deit_vit_b',
            'deit_base_patch16_384',
            False,
            'deit_base_patch16_384-8de9b5d1.pth',
        ),
    ],
)
def test_backbones__of_the_papers(name, arch, frozen, file):
    path = f'supervised/supervised_{name}_coco_2p'
    cfg = load(path).model
    backbone = cfg.backbone
    assert backbone.type == 'ViTFeaturePyramid' and 'depth' not in backbone
    assert (backbone.arch, backbone.frozen) == (arch, frozen)
    assert file in backbone.init_cfg.checkpoint
    # As released: the paper says bilinear and padded.
    assert cfg.panoptic_head.in_channels == [128, 256, 512, 1024]
    assert backbone.out_channels == [128, 256, 512, 1024]
    assert (backbone.resample, backbone.fit) == ('nearest', 'stretch')


@pytest.mark.parametrize(
    ('name', 'dims', 'file'),
    [
        ('swin_b_in1k', 128, 'swin_base_patch4_window12_384.pth'),
        ('swin_b_in21k', 128, 'swin_base_patch4_window12_384_22k.pth'),
        ('swin_l', 192, 'swin_large_patch4_window12_384_22k.pth'),
    ],
)
def test_backbones__swin(name, dims, file):
    path = f'supervised/supervised_{name}_coco_2p'
    backbone = load(path).model.backbone
    assert backbone.type == 'SwinTransformer'
    assert backbone.embed_dims == dims
    assert backbone.init_cfg.checkpoint.endswith(file)


@pytest.mark.parametrize('percent', [5, 10, 30])
def test_paper_settings__sskd(percent):
    """Constants of the paper, and the chain of the stages."""
    stem = f'_cityscapes_{percent}p'

    def stage(name: str) -> Config:
        path = f'sskd/sskd_{name}{stem}'
        return load(path)

    adapt, selftrain = stage('teacher_adapt'), stage('teacher_selftrain')
    assert adapt.model == selftrain.model
    assert adapt.model.loss_contrast.loss_weight == 0.1
    assert adapt.optim_wrapper.optimizer.lr == 5e-5
    assert adapt.optim_wrapper.clip_grad.max_norm == 0.1
    assert adapt.param_scheduler.milestones == [700, 900]
    assert adapt.model.test_cfg.detector_scale == (1333, 800)
    distill = stage('distill')
    assert distill.train_cfg.max_iters == 90000
    optimizer = distill.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (5e-5, 0.1)
    assert distill.optim_wrapper.clip_grad.max_norm == 0.01
    contrast = distill.model.loss_contrast
    assert (contrast.num_negatives, contrast.temperature) == (200, (0.3, 0.07))
    assert contrast.schedule_iters == distill.train_cfg.max_iters
    assert contrast.in_channels == distill.model.backbone.out_channels[-1]
    contrast = adapt.model.loss_contrast
    assert contrast.schedule_iters == adapt.train_cfg.max_iters
    for cfg in (selftrain, distill):
        # Both sets are one: neither number nor repeat factor.
        assert cfg.train_dataloader.sampler == dict(type='SemiSampler')
        assert cfg.model.joint
    assert distill.model.panoptic_head.num_queries == 100
    options = distill.pseudo_labels.options
    assert options.score_thr == 0.3 and options.non_overlapping
    for cfg, before in ((selftrain, 'adapt'), (distill, 'selftrain')):
        teacher = f'work_dirs/sskd_teacher_{before}{stem}'
        assert cfg.pseudo_labels.teacher == teacher
        labeled = cfg.train_dataloader.dataset.labeled
        assert labeled.ann_file.endswith(f'published@{percent}.json')
    refine = stage('refine')
    assert refine.load_from == f'work_dirs/sskd_distill{stem}/iter_90000.pth'
    assert refine.model.type == 'Mask2Former'
    assert refine.optim_wrapper.optimizer.lr == 1e-5
    assert refine.train_dataloader.dataset.ann_file.endswith(
        f'published@{percent}.json'
    )


SSKD = [p for p in CONFIGS if p.parts[0] == 'sskd' and 'shapes' not in p.stem]


@pytest.mark.parametrize('path', SSKD, ids=str)
def test_paper_settings__sskd_batch(path):
    """8 images in every stage on 4 GPUs, labelled and unlabelled together."""
    cfg = load(path)
    assert 4 * cfg.train_dataloader.batch_size == 8
    assert cfg.auto_scale_lr.base_batch_size == 8


@pytest.mark.parametrize(
    'path', [p for p in CONFIGS if 'sskd' in p.stem and p not in SSKD], ids=str
)
def test_shapes__base_batch_size_of_sskd(path):
    """On Shapes one process has the whole batch."""
    cfg = load(path)
    base = cfg.auto_scale_lr.base_batch_size
    assert base == cfg.train_dataloader.batch_size


@pytest.mark.parametrize('path', SSKD, ids=str)
def test_paper_settings__sskd_test_size(path):
    """The student's own; the teacher sees images as they are, its detector
    at 800/1333."""
    cfg = load(path)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        pipeline = loader.dataset.pipeline
        (resize,) = (s for s in pipeline if s.type == 'Resize')
        if 'cityscapes' in path.stem:  # images of 2048 x 1024
            assert resize.scale == (2048, 1024)
        elif 'teacher' in path.stem:
            assert resize.scale_factor == 1.0 and 'scale' not in resize
        else:
            assert resize.scale == (2520, 630)
    scale = cfg.model.test_cfg.get('detector_scale')
    assert scale == ((1333, 800) if 'teacher' in path.stem else None)


def test_paper_settings__sskd_ade20k():
    path = 'sskd/sskd_distill_ade20k_10p'
    cfg = load(path)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler.end == 160000
    assert cfg.model.loss_contrast.schedule_iters == 160000
    assert cfg.model.loss_contrast.temperature == (0.3, 0.07)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (1e-4, 0.05)
    assert cfg.model.panoptic_head.num_things_classes == 100
    steps = cfg.train_dataloader.dataset.labeled.pipeline
    crop = next(s for s in steps if 'crop_size' in s)
    assert crop.crop_size == (630, 630)
    teacher = load('sskd/sskd_teacher_adapt_ade20k_10p')
    assert len(teacher.model.classes) == 100
    assert teacher.model.classes_per_prompt == 40
