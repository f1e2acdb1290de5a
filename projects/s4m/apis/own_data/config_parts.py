# SPDX-License-Identifier: Apache-2.0
"""Parts of the configs of a run, as text."""

from __future__ import annotations

import datetime
from pathlib import Path

from s4m.version import __version__

from .settings import Settings

#: Folder of a config, which MMEngine fills in: a run can be moved. The quotes
#: allow for quotes in its name.
HERE = 'folder = r"""{{ fileDirname }}"""'


def head_text(what: str) -> str:
    return (
        f'# {what}\n# Written by s4m {__version__} on '
        f'{datetime.date.today()}. Edit it and repeat the command, or\n'
        '# train it with tools/train.py.\n'
    )


def indent(text: str, width: int) -> str:
    return text.replace('\n', '\n' + ' ' * width)


def as_text(path: Path) -> str:
    return repr(f'{path}/')


def val_interval_text(s: Settings, iters: int) -> str:
    interval = max(1, iters // (s.validations or 4))
    return f'val_interval = {interval}\n'


def save_best_text(s: Settings, metric: str) -> str:
    return f", save_best='{metric}'" if s.validations else ''


def model_text(s: Settings, has_start: bool) -> str:
    start = ''
    if has_start:
        start = """
    init_cfg=dict(type='Pretrained', checkpoint=folder + '/start.pth'),"""
    elif s.weights == 'none':
        start = '\n    init_cfg=None,\n    backbone=dict(init_cfg=None),'
    if s.model.family == 'rtmdet_ins':
        return f"""model = dict(
    bbox_head=dict(num_classes=num_classes),
    test_cfg=dict(max_per_img=num_objects),{start}
)
"""
    return f"""model = dict(
    panoptic_head=dict(
        num_things_classes=num_classes,
        num_queries=num_objects,
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
    ),
    panoptic_fusion_head=dict(num_things_classes=num_classes),
    test_cfg=dict(max_per_image=num_objects),{start}
)
"""


def geometry_text(s: Settings) -> str:
    if s.views == 'crops':
        listed = ', '.join(map(str, s.scales))
        return f"""crop_size = ({s.size}, {s.size})
# Crops from the image at half to twice its size.
resize_crop = dict(
    type='RandomChoiceResize',
    scales=[(100000, short) for short in ({listed},)],
    resize_type='ResizeCrop',
    crop_size=crop_size,
)"""
    low, high = (0.1, 2.0) if s.size >= 640 else (0.5, 2.0)
    return f"""crop_size = ({s.size}, {s.size})
# Jitter: the whole image at {low:g} to {high:g} times the size, then a crop.
resize_crop = dict(
    type='RandomResize',
    scale=crop_size,
    ratio_range=({low:g}, {high:g}),
    resize_type='ResizeCrop',
    crop_size=crop_size,
)"""


def test_resize_text(s: Settings) -> str:
    if s.views == 'crops' and not s.shrinks:
        return '_base_.own_size'
    scale = (s.test_size, s.test_size if s.views == 'crops' else s.size)
    return (
        f"dict(type='Resize', scale={scale}, keep_ratio=True, "
        "backend='pillow')"
    )


def labeled_set_text(s: Settings) -> str:
    if not s.balance:
        return 'labeled'
    return """dict(
        # Images of rare classes are drawn more often.
        type='ClassBalancedDataset', oversample_thr=1.0, dataset=labeled
    )"""


def validation_text(s: Settings, val_images: Path | None) -> str:
    """Return the validation and test sets.

    Without validation images the test set is the labelled one: tools want its
    classes and steps, and nothing is validated in a training.
    """
    name = 'val' if val_images is not None else 'labeled'
    folder = 'labeled_images' if val_images is None else as_text(val_images)
    text = f"""test_dataloader = dict(
    batch_size=1,
    num_workers={s.workers},
    persistent_workers={s.workers > 0},
    dataset=dict(
        type='CocoDataset',
        metainfo=dict(classes=classes),
        ann_file=annotations + '{name}.json',
        data_prefix=dict(img={folder}),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(
    type='CocoInstanceMetric',
    ann_file=annotations + '{name}.json',
    max_dets=num_objects,
)
"""
    if val_images is None:
        return text + (
            '# No image is left to validate on.\n'
            'val_cfg = val_dataloader = val_evaluator = None\n'
        )
    return text + (
        'val_dataloader, val_evaluator = test_dataloader, test_evaluator\n'
    )


def optimizer_text(s: Settings) -> str:
    whole = (
        "\n    paramwise_cfg=dict(custom_keys={'backbone': "
        'dict(lr_mult=1.0)}),'
        if s.model.is_nano or s.model.family == 'rtmdet_ins'
        else ''
    )
    accumulate = (
        f'\n    accumulative_counts={s.accumulate},'
        if s.accumulate > 1
        else ''
    )
    return f"""optim_wrapper = dict(
    optimizer=dict(lr={s.lr:g}),
    clip_grad=dict(max_norm={s.model.clip:g}),{whole}{accumulate}
)"""


def schedule_text(s: Settings) -> str:
    """Return the schedule of the rate, which ends at ``max_iters``."""
    if s.model.family == 'mask2former':
        return 'param_scheduler = dict(end=max_iters)'
    return """warm_up = max(1, max_iters // 10)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.05,
        begin=0,
        end=warm_up,
        by_epoch=False,
    ),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=0.0,
        begin=warm_up,
        end=max_iters,
        by_epoch=False,
    ),
]"""
