# SPDX-License-Identifier: Apache-2.0
"""The constants of a resolved config, under names that a paper would use."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from mmdet.registry import HOOKS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import Registry


def with_defaults(registry: Registry, node: dict) -> dict:
    """A component's arguments, those that it is not given included.

    Args:
        registry (Registry): Knows ``node.type``.
        node (dict): Config of the component.
    """
    cls = registry.get(node['type'])
    values: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        init = base.__dict__.get('__init__')
        if init is None or base is object:
            continue
        for name, parameter in inspect.signature(init).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                values[name] = parameter.default
    values.update({k: v for k, v in node.items() if k != 'type'})
    return values


def constants(cfg: Config) -> dict[str, Any]:
    """Every constant that a paper or its code states, from one config.

    Args:
        cfg (Config): A resolved config. Totals are computed:
            ``labeled_batch`` is its ``expected_gpus`` times what a process
            loads.
    """
    found: dict[str, Any] = {}
    found.update(_schedule(cfg))
    found.update(_data(cfg))
    model = cfg.model
    pixels = model.get('data_preprocessor', {})
    if 'mean' not in pixels:
        pixels = model.detector.data_preprocessor
    found.update(
        pixel_mean=pixels.mean,
        pixel_std=pixels.std,
        size_divisor=pixels.get('pad_size_divisor', 1),
    )
    found.update(_semi(cfg))
    if model.type == 'PromptedDetector':
        found.update(_prompted(model))
    found.update(_distillation(model))
    found.update(_contrast(model))
    detector = model.get('detector', model)
    if 'Mask2Former' in detector.type:
        found.update(_mask2former(detector))
    return {k: _plain(v) for k, v in found.items()}


def _plain(value):
    """Tuples and lists compare alike."""
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


# ---------------------------------------------------------------- schedule
def _schedule(cfg: Config) -> Iterator[tuple[str, Any]]:
    wrapper = cfg.optim_wrapper
    yield 'optimizer', wrapper.optimizer.type
    yield 'lr', wrapper.optimizer.lr
    yield 'weight_decay', wrapper.optimizer.weight_decay
    yield 'clip', wrapper.clip_grad.max_norm
    yield 'clip_norm', wrapper.clip_grad.norm_type
    keys = dict(wrapper.paramwise_cfg.custom_keys)
    yield 'backbone_lr_mult', keys.pop('backbone').lr_mult
    yield 'other_groups', {k: dict(v) for k, v in keys.items()}
    yield 'norm_decay_mult', wrapper.paramwise_cfg.norm_decay_mult
    yield 'accumulation', wrapper.get('accumulative_counts', 1)
    yield 'iterations', cfg.train_cfg.max_iters
    yield 'val_interval', cfg.train_cfg.val_interval
    yield 'checkpoint_interval', cfg.default_hooks.checkpoint.interval
    schedulers = cfg.param_scheduler
    if not isinstance(schedulers, list):
        schedulers = [schedulers]
    assert not any(s.by_epoch for s in schedulers)
    *warm_up, decay = schedulers
    yield 'warm_up', sum(s.end for s in warm_up)
    yield 'decay_ends', decay.end
    yield 'schedule', decay.type
    for key in ('power', 'eta_min', 'milestones', 'gamma'):
        if key in decay:
            yield key, decay[key]


# -------------------------------------------------------------------- data
def _data(cfg: Config) -> Iterator[tuple[str, Any]]:
    num_gpus = cfg.expected_gpus
    loader = cfg.train_dataloader
    data = loader.dataset
    labeled, unlabeled = data, None
    counts = [loader.batch_size, 0]
    if data.type == 'SemiDataset':
        labeled, unlabeled = data.labeled, data.unlabeled
        sampler = loader.sampler
        counts = [sampler.get('num_labeled'), sampler.get('num_unlabeled')]
        if counts != [None, None]:
            assert sum(counts) == loader.batch_size
            yield 'repeat_thr', sampler.get('repeat_thr', 10.0)
    for key, count in zip(
        ('labeled_batch', 'unlabeled_batch'), counts, strict=True
    ):
        yield key, 'of one set' if count is None else num_gpus * count
    yield 'total_batch', num_gpus * loader.batch_size
    # What MMEngine compares with: all images of a step.
    yield 'base_batch_size', cfg.auto_scale_lr.base_batch_size
    yield 'labeled_file', labeled.ann_file
    pipelines = [labeled.pipeline]
    if unlabeled is not None:
        yield 'unlabeled_file', unlabeled.ann_file
        yield 'unlabeled_images', unlabeled.data_prefix.img
        pipelines.append(unlabeled.pipeline)
        yield 'student_view', _student_view(unlabeled.pipeline)
    geometries = [dict(_geometry(p)) for p in pipelines]
    # Labelled and unlabelled images are resized and cropped alike.
    assert all(
        g[k] == geometries[0][k] for g in geometries for k in g if k != 'kept'
    )
    yield from geometries[0].items()
    colors = [s for s in labeled.pipeline if s.type == 'SSDColorDistortion']
    yield 'labeled_colors', _colors(colors[0]) if colors else None
    if 'pseudo_labels' in cfg:
        yield 'pseudo_options', cfg.pseudo_labels.options
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            yield 'test_scale', step.get('scale', step.get('scale_factor'))
            yield 'test_backend', step.get('backend', 'cv2')
    metrics = cfg.test_evaluator
    metrics = metrics if isinstance(metrics, list) else [metrics]
    yield 'metrics', [m.type for m in metrics]


def _geometry(pipeline) -> Iterator[tuple[str, Any]]:
    (step,) = (s for s in pipeline if s.get('resize_type') == 'ResizeCrop')
    resize = with_defaults(TRANSFORMS, dict(step, type='ResizeCrop'))
    yield 'crop', resize['crop_size']
    yield 'backend', resize['backend']
    yield 'keep_ratio', resize['keep_ratio']
    yield 'interpolation', resize['interpolation']
    yield 'kept', 'all objects' if resize['keep_empty'] else 'visible objects'
    if step.type == 'RandomChoiceResize':
        yield 'scales', step.scales
    else:
        yield 'scale', step.scale
        yield 'scale_range', step.ratio_range
    (flip,) = (s for s in pipeline if s.type == 'RandomFlip')
    yield 'flip', flip.prob


def _colors(step) -> list:
    values = with_defaults(TRANSFORMS, step)
    names = ('brightness_delta', 'contrast_range', 'saturation_range')
    return [*(values[n] for n in names), values['hue_delta']]


def _student_view(pipeline) -> str:
    """What the student's unlabelled view starts from."""
    kinds = [s.type for s in pipeline]
    (branches,) = (s for s in pipeline if s.type == 'MultiBranch')
    if 'unsup_student' not in branches:
        return 'its own'
    inner = {
        b: 'SSDColorDistortion' in [s.type for s in branches[b]]
        for b in ('unsup_teacher', 'unsup_student')
    }
    if not any(inner.values()):
        distorted = 'SSDColorDistortion' in kinds
        return 'the distorted crop' if distorted else 'the crop'
    assert inner == dict(unsup_teacher=True, unsup_student=False)
    return "the crop, the teacher's is distorted"


# -------------------------------------------------------------------- semi
def _semi(cfg: Config) -> Iterator[tuple[str, Any]]:
    model = cfg.model
    if model.type != 'SemiInstanceSegmentor':
        return
    teacher = with_defaults(HOOKS, cfg.default_hooks.mean_teacher)
    yield 'strategy', teacher['strategy']
    yield 'burn_in', teacher['burn_in']
    yield 'ema_decay', round(1 - teacher['momentum'], 6)
    yield 'starts_from_teacher', model.teacher_checkpoint is not None
    yield 'sup_weight', model.semi_train_cfg.get('sup_weight', 1.0)
    yield 'unsup_weight', model.semi_train_cfg.get('unsup_weight', 2.0)
    yield 'predict_on', model.semi_test_cfg.predict_on
    labeler = with_defaults(MODELS, model.pseudo_labeler)
    yield 'labeler', model.pseudo_labeler.type
    for key in ('cls_thr', 'size_thr', 'score_thr'):
        if key in labeler:
            yield f'pseudo_{key}', labeler[key]
    strong = model.get('strong_augment')
    if strong:
        yield from (
            (f'strong_{k}', v)
            for k, v in with_defaults(MODELS, strong).items()
        )
    if model.get('refiner'):
        refiner = with_defaults(MODELS, model.refiner)
        yield 'refine_points', refiner['points_per_mask']
        yield 'refine_sampling', refiner['point_sampling']
        yield 'segmenter', refiner['segmenter']['config']
    if model.get('copy_paste'):
        paste = with_defaults(MODELS, model.copy_paste)
        yield 'paste_mode', paste['mode']
        yield 'paste_min_area', paste['min_area']
        yield 'paste_scales', paste['scale_range']


def _distillation(model) -> Iterator[tuple[str, Any]]:
    if 'loss_distill' not in model:
        return
    loss = with_defaults(MODELS, model.loss_distill)
    values = with_defaults(MODELS, model)
    yield 'sd_points', values['points_per_image']
    yield 'sd_beta', loss['beta']
    yield 'sd_weight', loss['loss_weight']
    yield 'sd_features', values['feature_source']
    yield 'segmenter', model.segmenter.config


# -------------------------------------------------------------------- SSKD
def _prompted(model) -> Iterator[tuple[str, Any]]:
    yield 'detector', model.detector.type
    yield (
        'pretrained',
        (model.detector.get('init_cfg') or {}).get('checkpoint'),
    )
    yield 'segmenter', model.segmenter.config
    yield 'segmenter_trains', model.segmenter.get('trainable')
    for key in ('loss_mask', 'loss_dice'):
        if model.get(key):
            yield f'{key}_weight', model[key].loss_weight
    yield 'test_score_thr', model.test_cfg.score_thr
    yield 'max_per_image', model.test_cfg.max_per_image
    yield 'detector_scale', model.test_cfg.get('detector_scale')
    yield 'num_classes', len(model.classes) if 'classes' in model else None
    yield 'classes_per_prompt', model.get('classes_per_prompt')


def _contrast(model) -> Iterator[tuple[str, Any]]:
    for key in ('semi_weight', 'sup_weight', 'feature_level', 'joint'):
        if key in model:
            yield key, model[key]
    if model.get('loss_contrast'):
        values = with_defaults(MODELS, model.loss_contrast)
        for key in (
            'in_channels',
            'hidden_channels',
            'out_channels',
            'sampling',
            'num_negatives',
            'temperature',
            'schedule_iters',
            'mask_temperature',
            'anchors_per_image',
            'loss_weight',
        ):
            yield f'contrast_{key}', values[key]


# ------------------------------------------------------------- Mask2Former
def _mask2former(detector) -> Iterator[tuple[str, Any]]:
    backbone, head = detector.backbone, detector.panoptic_head
    yield 'backbone', backbone.type
    init = backbone.get('init_cfg') or detector.get('init_cfg')
    yield 'pretrained', init and init.checkpoint
    if backbone.type == 'ResNet':
        norm = backbone.norm_cfg
        yield 'backbone_norm', norm.type
        yield 'backbone_norm_trains', norm.requires_grad
        yield 'backbone_norm_eval', backbone.norm_eval
        yield 'frozen_stages', backbone.frozen_stages
        yield 'depth', backbone.depth
    elif backbone.type == 'SwinTransformer':
        yield 'drop_path', backbone.drop_path_rate
        yield 'window', backbone.window_size
    else:
        values = with_defaults(MODELS, backbone)
        for key in (
            *('arch', 'frozen', 'strides', 'out_channels', 'out_indices'),
            *('resample', 'fit', 'vit_cfg'),
        ):
            yield key, values[key]
    if head.pixel_decoder.type == 'DPTPixelDecoder':
        values = with_defaults(MODELS, head.pixel_decoder)
        yield 'dpt_channels', values['feat_channels']
        yield 'dpt_upsample', values['upsample']
        yield 'dpt_norm', (values['norm_cfg'] or {}).get('type')
    yield 'num_classes', head.num_things_classes
    yield 'num_queries', head.num_queries
    layers = head.transformer_decoder.num_layers
    yield 'decoder_layers', layers
    weights = head.loss_cls.class_weight
    assert weights[:-1] == [1.0] * head.num_things_classes
    yield 'no_object_weight', weights[-1]
    losses = (head.loss_cls, head.loss_mask, head.loss_dice)
    yield 'loss_weights', [loss.loss_weight for loss in losses]
    train = detector.train_cfg
    yield 'cost_weights', [c.weight for c in train.assigner.match_costs]
    for key in ('num_points', 'oversample_ratio', 'importance_sample_ratio'):
        if key in train:
            yield f'loss_{key}', train[key]
    yield 'max_per_image', detector.test_cfg.max_per_image
