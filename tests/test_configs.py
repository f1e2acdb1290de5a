# SPDX-License-Identifier: Apache-2.0
"""Every config builds its model, pipelines, hooks and optimiser."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmdet.registry import HOOKS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

CONFIGS = sorted(
    p.relative_to(ROOT / 'configs')
    for p in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in p.parts
)


def _without_downloads(node) -> None:
    if isinstance(node, dict):
        if 'init_cfg' in node:
            node['init_cfg'] = None
        for value in node.values():
            _without_downloads(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _without_downloads(value)


def _pipelines(node):
    """All pipelines below a config node."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'pipeline':
                yield value
            else:
                yield from _pipelines(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _pipelines(value)


def test_names__are_unique():
    """A config's name is the name of its work directory."""
    names = [p.stem for p in CONFIGS]
    assert len(names) == len(set(names))


def _indexed() -> set[str]:
    """Paths in configs/README.md, with {a,b} written out."""
    text = (ROOT / 'configs/README.md').read_text()
    found = set()
    for path in re.findall(r'`([\w/{},]+\.py)`', text):
        head, brace, rest = path.partition('{')
        choices, _, tail = rest.partition('}')
        parts = choices.split(',') if brace else ['']
        found |= {head + part + tail for part in parts}
    return found


def test_readme__lists_every_config():
    assert _indexed() == {str(p) for p in CONFIGS}


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_row__has_at_most_five_lines(path: Path):
    """A row of a table says what differs, the rest is in _base_."""
    if path.parts[0] in ('shapes', 'ablation', 'custom', 'mixing'):
        return
    text = (ROOT / 'configs' / path).read_text().splitlines()
    lines = [t for t in text if t and not t.startswith('#')]
    assert len(lines) <= 5


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_random_state__is_in_every_row(path: Path):
    """Once: by a key, since `custom_hooks` replaces the list of a base."""
    cfg = Config.fromfile(ROOT / 'configs' / path)
    hooks = [*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])]
    types = [hook.type for hook in hooks if hook is not None]
    assert types.count('RandomStateHook') == 1
    assert cfg.default_hooks.random_state.type == 'RandomStateHook'


@pytest.fixture
def no_random_weights(monkeypatch):
    """Large models are built in a moment when nobody fills them."""
    for name in ('uniform_', 'normal_', 'erfinv_', 'zero_', 'fill_'):
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *args, **kwargs: self
        )
    for name in ('uniform_', 'normal_', 'zeros_', 'ones_', 'constant_'):
        monkeypatch.setattr(
            nn.init, name, lambda tensor, *args, **kwargs: tensor
        )
    for name in ('kaiming_uniform_', 'kaiming_normal_', 'xavier_uniform_'):
        monkeypatch.setattr(
            nn.init, name, lambda tensor, *args, **kwargs: tensor
        )


#: Models and optimisers that a test has built already.
_BUILT: set[str] = set()


def _prepare(cfg: Config, bert: str) -> None:
    """Without files that have to be downloaded."""
    _without_downloads(cfg._cfg_dict)
    detector = cfg.model.get('detector', {})
    if 'language_model' in detector:
        detector.language_model.name = bert
    segmenter = cfg.model.get('segmenter')
    if segmenter is not None and not segmenter.get('frozen', True):
        # Small, but the same modules train.
        segmenter.update(config='sam2.1_hiera_tiny', checkpoint=None)


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_config__builds(path: Path, no_random_weights, bert):
    cfg = Config.fromfile(ROOT / 'configs' / path)
    for before in _starts_from(cfg):
        assert before in {f'work_dirs/{p.stem}' for p in CONFIGS}
    _prepare(cfg, bert)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        pipelines = list(_pipelines(cfg[name]))
        assert pipelines
        for pipeline in pipelines:
            for step in pipeline:
                TRANSFORMS.build(step)
    for hook in cfg.get('custom_hooks', []):
        HOOKS.build(hook)
    schedulers = cfg.param_scheduler
    if not isinstance(schedulers, list):
        schedulers = [schedulers]
    # A warm-up ends where the decay begins, which ends with the training.
    ends = [0, *(s.end for s in schedulers)]
    assert [s.begin for s in schedulers] == ends[:-1]
    assert ends[-1] == cfg.train_cfg.max_iters
    # Rows of a table differ in their data: each model is built once.
    model_cfg = dict(cfg.model, teacher_checkpoint=None)
    key = repr((model_cfg, cfg.optim_wrapper, cfg.param_scheduler))
    if key in _BUILT:
        return
    _BUILT.add(key)
    model = MODELS.build(cfg.model)
    optim = build_optim_wrapper(model, cfg.optim_wrapper)
    if 'constructor' in cfg.optim_wrapper:
        _check_groups(model, optim.optimizer, cfg)
    for scheduler in schedulers:
        PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=optim))


def _starts_from(cfg: Config) -> list[str]:
    """Work directories that a config reads from."""
    found = [cfg.model.get('teacher_checkpoint')]
    if cfg.get('load_from'):
        found.append(str(Path(cfg.load_from).parent))
    if 'pseudo_labels' in cfg:
        teacher = cfg.pseudo_labels.teacher
        found.append(teacher)
        pseudo = cfg.train_dataloader.dataset.unlabeled
        assert pseudo.ann_file == f'{teacher}/pseudo_labels.json'
        assert pseudo.data_prefix.img == cfg.pseudo_labels.image_root
        images = cfg.pseudo_labels.images
        assert images.startswith('data/') and 'unlabeled' in images
    return [f for f in found if f is not None and 'download' not in f]


def _check_groups(model, optimizer, cfg) -> None:
    """Rates and decays of the built groups, by the name of the parameter."""
    found = {
        id(p): (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for p in group['params']
    }
    net = getattr(model, 'student', model)
    base = cfg.optim_wrapper.optimizer
    keys = cfg.optim_wrapper.paramwise_cfg.custom_keys
    norms = {
        id(p)
        for m in net.modules()
        if isinstance(
            m, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm
        )
        for p in m.parameters(recurse=False)
    }
    trained = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    assert len(found) == len(trained)
    for name, param in trained:
        lr, decay = found[id(param)]
        own = name.removeprefix('detector.')
        mult = 1
        if own.startswith('backbone.'):  # a ViT's projections too
            mult = keys.backbone.lr_mult
        elif own.startswith('segmenter.'):
            mult = keys.segmenter.lr_mult
        assert lr == pytest.approx(base.lr * mult), name
        embedding = any(
            k in name
            for k in (
                'query_embed',
                'query_feat',
                'level_embed',
                'relative_position_bias_table',
                'absolute_pos_embed',
            )
        )
        free = id(param) in norms or embedding
        assert decay == (0 if free else base.weight_decay), name
    assert len(optimizer.param_groups) <= 6


def test_paper_settings__s4m_cityscapes():
    """The numbers of the paper's table, read from the built config."""
    cfg = Config.fromfile(ROOT / 'configs/s4m_cityscapes_10p.py')
    assert cfg.train_cfg.max_iters == 90000
    assert cfg.optim_wrapper.optimizer.lr == 1e-4
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.01
    assert cfg.custom_hooks[0] == dict(
        type='BurnInMeanTeacherHook', burn_in=15000, momentum=0.0004
    )
    assert cfg.model.semi_train_cfg.unsup_weight == 2
    assert cfg.model.refiner.segmenter.config == 'sam2_hiera_large'
    assert cfg.train_dataloader.sampler.num_labeled == 4
    assert cfg.model.copy_paste.min_area == 3000
    assert cfg.model.detector.train_cfg.num_points == 12544
    teacher = Config.fromfile(ROOT / 'configs/s4m_teacher_cityscapes_10p.py')
    assert teacher.model.num_points == 128
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
    path = ROOT / f'configs/guided_distillation/{stem}.py'
    cfg = Config.fromfile(path)
    assert cfg.custom_hooks[0] == dict(
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
    cfg = Config.fromfile(ROOT / 'configs/s4m_coco_10p.py')
    assert cfg.custom_hooks[0].burn_in == 25000
    assert cfg.model.copy_paste.mode == 'dynamic'
    loader = cfg.train_dataloader
    assert (loader.batch_size, loader.sampler.num_labeled) == (6, 3)
    data = loader.dataset
    assert data.unlabeled.ann_file.endswith('train2017.all-unlabeled.json')
    assert cfg.param_scheduler.milestones == [327778, 355092]
    assert cfg.train_cfg.val_interval == 7000
    teacher = Config.fromfile(ROOT / 'configs/s4m_teacher_coco_10p.py')
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
    path = ROOT / f'configs/strategies/{name}_cityscapes_5p.py'
    cfg = Config.fromfile(path)
    hook = cfg.custom_hooks[0]
    assert hook.get('strategy', 'guided') == strategy
    assert hook.burn_in == burn_in
    assert (cfg.model.teacher_checkpoint is not None) == teacher


def test_crop__is_512_high_and_1024_wide():
    """MMDet's crop_size is (width, height)."""
    cfg = Config.fromfile(ROOT / 'configs/s4m_cityscapes_10p.py')
    labeled = cfg.train_dataloader.dataset.labeled.pipeline
    (crop,) = (t for t in labeled if t.get('resize_type') == 'ResizeCrop')
    image = np.zeros((600, 1300, 3), np.uint8)
    out = TRANSFORMS.build(crop)(dict(img=image))
    assert out['img'].shape == (512, 1024, 3)


def _coco(num: int, classes, labeled: bool) -> dict:
    """COCO dictionary of small images with one polygon each."""
    annotations = [
        dict(
            id=i,
            image_id=i,
            category_id=10 * (1 + i % len(classes)),
            bbox=[8, 8, 40, 40],
            area=1600,
            iscrowd=0,
            segmentation=[[8, 8, 48, 8, 48, 48, 8, 48]],
        )
        for i in range(num)
    ]
    return dict(
        images=[
            dict(id=i, file_name=f'{i}.jpg', height=64, width=64)
            for i in range(num)
        ],
        annotations=annotations if labeled else [],
        categories=[
            dict(id=10 * (i + 1), name=n) for i, n in enumerate(classes)
        ],
    )


@pytest.mark.parametrize(
    'name', ['supervised_custom', 'guided_distillation_custom', 's4m_custom']
)
def test_custom__three_classes(name, tmp_path, monkeypatch):
    """The documented folder layout; one training step of a nano model."""
    import json

    import cv2
    from mmengine.runner import Runner

    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(ROOT / 'configs' / 'custom' / f'{name}.py')
    detector = cfg.model.get('detector', cfg.model)
    head = detector.panoptic_head
    assert head.num_things_classes == 3
    assert detector.panoptic_fusion_head.num_things_classes == 3
    assert head.loss_cls.class_weight == [1.0] * 3 + [0.1]

    root = tmp_path / 'data/custom'
    rng = np.random.default_rng(0)
    for folder in ('train', 'val'):
        (root / folder).mkdir(parents=True)
        for i in range(4):
            image = rng.integers(0, 256, (64, 64, 3), np.uint8)
            cv2.imwrite(str(root / folder / f'{i}.jpg'), image)
    (root / 'annotations').mkdir()
    for part in ('labeled', 'unlabeled', 'val'):
        data = _coco(4, cfg.classes, part != 'unlabeled')
        (root / f'annotations/{part}.json').write_text(json.dumps(data))

    nano = Config.fromfile(ROOT / 'configs/_base_/models/mask2former_nano.py')
    nano.model.panoptic_head.num_things_classes = 3
    nano.model.panoptic_head.loss_cls.class_weight = [1.0] * 3 + [0.1]
    nano.model.panoptic_fusion_head.num_things_classes = 3
    if 'detector' in cfg.model:
        cfg.model.detector = nano.model
        cfg.custom_hooks[0].burn_in = 0
        cfg.train_dataloader.batch_size = 4
        cfg.train_dataloader.sampler.update(num_labeled=2, num_unlabeled=2)
    else:
        cfg.model = nano.model
    if cfg.model.get('refiner'):
        cfg.model.refiner.segmenter.update(
            config='nano_sam2', checkpoint='nano_sam2'
        )
    small = dict(type='Resize', scale=(64, 64), keep_ratio=True)
    for pipeline in _pipelines(cfg.train_dataloader):
        for k, step in enumerate(pipeline):
            if step.type == 'RandomChoiceResize':
                pipeline[k] = small
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.default_hooks.checkpoint.update(interval=1, save_best=None)
    cfg.work_dir = str(tmp_path / 'work')
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert (tmp_path / 'work/iter_1.pth').is_file()
    assert len(runner.val_dataloader.dataset) == 4


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
    path = ROOT / f'configs/supervised/supervised_{name}_coco_2p.py'
    cfg = Config.fromfile(path).model
    backbone = cfg.backbone
    assert backbone.type == 'ViTFeaturePyramid' and 'depth' not in backbone
    assert (backbone.arch, backbone.frozen) == (arch, frozen)
    assert file in backbone.init_cfg.checkpoint
    # As released: the paper says bilinear and padded.
    assert cfg.panoptic_head.in_channels == [128, 256, 512, 1024]
    assert backbone.out_channels == [128, 256, 512, 1024]
    assert (backbone.resample, backbone.fit) == ('nearest', 'stretch')


@pytest.mark.parametrize('name', ['dinov2_vit_b', 'frozen_dinov2_vit_b'])
def test_backbones__groups_of_a_vit(name, no_random_weights):
    """As released: a tenth of the rate for the projections, decay for all
    but norms; of a frozen transformer the projections train all the same."""
    path = ROOT / f'configs/supervised/supervised_{name}_coco_2p.py'
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    settings = {
        id(p): (pytest.approx(group['lr']), group['weight_decay'])
        for group in optimizer.param_groups
        for p in group['params']
    }
    backbone = model.backbone
    for conv in backbone.convs:
        assert settings[id(conv.weight)] == (1e-5, 0.05)
        assert settings[id(conv.bias)] == (1e-5, 0.05)
    for parameter in (backbone.vit.pos_embed, backbone.vit.cls_token):
        if 'frozen' in name:
            assert id(parameter) not in settings
        else:
            assert settings[id(parameter)] == (1e-5, 0.05)


@pytest.mark.parametrize(
    ('name', 'dims', 'file'),
    [
        ('swin_b_in1k', 128, 'swin_base_patch4_window12_384.pth'),
        ('swin_b_in21k', 128, 'swin_base_patch4_window12_384_22k.pth'),
        ('swin_l', 192, 'swin_large_patch4_window12_384_22k.pth'),
    ],
)
def test_backbones__swin(name, dims, file):
    path = ROOT / f'configs/supervised/supervised_{name}_coco_2p.py'
    backbone = Config.fromfile(path).model.backbone
    assert backbone.type == 'SwinTransformer'
    assert backbone.embed_dims == dims
    assert backbone.init_cfg.checkpoint.endswith(file)


@pytest.mark.parametrize('percent', [5, 10, 30])
def test_paper_settings__sskd(percent):
    """Constants of the paper, and the chain of the stages."""
    stem = f'_cityscapes_{percent}p'

    def stage(name: str) -> Config:
        path = f'configs/sskd/sskd_{name}{stem}.py'
        return Config.fromfile(ROOT / path)

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
    assert options[:2] == ['--score-thr', '0.3']
    assert '--non-overlapping' in options
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
    cfg = Config.fromfile(ROOT / 'configs' / path)
    assert 4 * cfg.train_dataloader.batch_size == 8
    assert cfg.auto_scale_lr.base_batch_size == 8


@pytest.mark.parametrize(
    'path', [p for p in CONFIGS if 'sskd' in p.stem and p not in SSKD], ids=str
)
def test_shapes__base_batch_size_of_sskd(path):
    """On Shapes one process has the whole batch."""
    cfg = Config.fromfile(ROOT / 'configs' / path)
    base = cfg.auto_scale_lr.base_batch_size
    assert base == cfg.train_dataloader.batch_size


@pytest.mark.parametrize('path', SSKD, ids=str)
def test_paper_settings__sskd_test_size(path):
    """The student's own; the teacher sees images as they are, its detector
    at 800/1333."""
    cfg = Config.fromfile(ROOT / 'configs' / path)
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
    path = 'configs/sskd/sskd_distill_ade20k_10p.py'
    cfg = Config.fromfile(ROOT / path)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler.end == 160000
    assert cfg.model.loss_contrast.schedule_iters == 160000
    assert cfg.model.loss_contrast.temperature == (0.3, 0.07)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (1e-4, 0.05)
    assert cfg.model.panoptic_head.num_things_classes == 100
    steps = cfg.train_dataloader.dataset.labeled.pipeline
    crop = next(s for s in steps if 'crop_size' in s)
    assert crop.crop_size == (630, 630)
    teacher = Config.fromfile(
        ROOT / 'configs/sskd/sskd_teacher_adapt_ade20k_10p.py'
    )
    assert len(teacher.model.classes) == 100
    assert teacher.model.classes_per_prompt == 40
