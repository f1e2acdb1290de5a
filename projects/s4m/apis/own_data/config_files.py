# SPDX-License-Identifier: Apache-2.0
"""Write the configs of a run as people would: short, and to be edited."""

from __future__ import annotations

from pathlib import Path

from s4m.utils.whole_files import write_whole

from .config_parts import (
    HERE,
    as_text,
    geometry_text,
    head_text,
    indent,
    labeled_set_text,
    model_text,
    optimizer_text,
    save_best_text,
    schedule_text,
    test_resize_text,
    val_interval_text,
    validation_text,
)
from .settings import Settings

SUPERVISED, LAST = 'supervised.py', 'config.py'


def write_configs(
    settings: Settings,
    *,
    out: str | Path,
    classes: tuple[str, ...],
    labeled_images: Path,
    unlabeled_images: Path | None,
    val_images: Path | None,
    seed: int = 0,
    has_start: bool = False,
    sam_checkpoint: str = '',
) -> list[Path]:
    """Write the config of each stage.

    Args:
        settings (Settings): What was decided.
        out (str | Path): Folder of the run; annotations are in ``data/``.
        classes (tuple[str, ...]): Class names in the order of the labels.
        labeled_images (Path): Folder of the labelled images.
        unlabeled_images (Path, optional): Folder of the unlabelled images.
        val_images (Path, optional): Folder of the validation images; None if
            there are none.
        seed (int): Seed of the training. Defaults to 0.
        has_start (bool): Whether ``start.pth`` has the weights to start
            from. Defaults to False.
        sam_checkpoint (str): File of SAM 2's weights.

    Returns:
        list[Path]: ``supervised.py`` and ``config.py``, or for a supervised
        run ``config.py`` alone.
    """
    is_supervised = settings.method == 'supervised'
    texts = {
        LAST if is_supervised else SUPERVISED: _supervised(
            settings,
            classes,
            labeled_images,
            val_images,
            seed,
            has_start,
            is_supervised,
        )
    }
    if not is_supervised:
        assert unlabeled_images is not None
        texts[LAST] = _student(settings, unlabeled_images, sam_checkpoint)
    files = []
    for name, text in texts.items():
        files.append(Path(out, name))
        with write_whole(files[-1]) as partial:
            partial.write_text(text, encoding='utf-8')
    return files


def _supervised(
    s: Settings,
    classes: tuple[str, ...],
    labeled_images: Path,
    val_images: Path | None,
    seed: int,
    has_start: bool,
    is_last: bool,
) -> str:
    """Return the config of the supervised stage."""
    what = 'Supervised training on the labelled images'
    if not is_last:
        what += f': the baseline, and the\n# teacher of {LAST}'
    val = validation_text(s, val_images)
    return f"""{head_text(f'{what}.')}_base_ = [
    's4m::_base_/models/{s.model.base}.py',
    's4m::_base_/datasets/parts.py',
    's4m::_base_/schedules/own_data.py',
]

classes = {classes!r}
num_classes = len(classes)
# The most objects of an image that are predicted.
num_objects = {s.queries}
{HERE}
annotations = folder + '/data/'
labeled_images = {as_text(labeled_images)}
max_iters = {s.supervised_iters}
{val_interval_text(s, s.supervised_iters)}
# ---------------------------------------------------------------- model
{model_text(s, has_start)}
# ----------------------------------------------------------------- data
{geometry_text(s)}
geometry = [resize_crop, _base_.flip]
steps = [*_base_.load, *geometry, _base_.colors]
test_pipeline = [
    _base_.test_load,
    {test_resize_text(s)},
    *_base_.test_pack,
]
labeled = dict(
    type='CocoDataset',
    metainfo=dict(classes=classes),
    ann_file=annotations + 'labeled.json',
    data_prefix=dict(img=labeled_images),
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=[*steps, _base_.pack],
)
train_dataloader = dict(
    batch_size={s.batch},
    num_workers={s.workers},
    persistent_workers={s.workers > 0},
    dataset={labeled_set_text(s)},
)
{val}
# ------------------------------------------------------------- schedule
{optimizer_text(s)}
{schedule_text(s)}
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
default_hooks = dict(
    checkpoint=dict(interval=val_interval{save_best_text(s, 'coco/segm_mAP')}),
)
auto_scale_lr = dict(base_batch_size={s.batch * s.accumulate})
randomness = dict(seed={seed})
"""


def _student(s: Settings, unlabeled_images: Path, sam_checkpoint: str) -> str:
    """Return the config of the student."""
    is_s4m = s.method == 's4m'
    pastes = is_s4m and s.model.family == 'mask2former'
    bases = ["'./supervised.py'", "'s4m::_base_/methods/semi_supervised.py'"]
    if is_s4m:
        bases.append("'s4m::_base_/methods/s4m.py'")
    listed = ''.join(f'    {base},\n' for base in bases)
    method = 'S4M' if is_s4m else 'Guided Distillation'
    parts, hooks = '', ''
    if is_s4m:
        parts = f"""
    refiner=dict(
        _base_.refiner,
        segmenter=dict(
            type='SAM2Segmenter',
            config={s.sam!r},
            checkpoint={sam_checkpoint!r},
        ),
    ),"""
        hooks = '\n    refine_log=_base_.refine_log,'
    if pastes:
        parts += f"""
    copy_paste=dict(_base_.copy_paste, min_area={s.min_area}),"""
    labeler = """
    # One label for each object keeps the teacher from drifting.
    pseudo_labeler=dict(_base_.semi_model.pseudo_labeler, nms_iou_thr=0.5),"""
    if s.model.family == 'rtmdet_ins':
        labeler = f"""
    # A detector with boxes: its predictions above a score are the labels.
    pseudo_labeler=dict(
        type='PredictionPseudoLabeler',
        score_thr={0.4 if s.model.is_nano else 0.5},
        size_thr={max(4, s.min_area // 4)},
    ),"""
    views = """[
    *load_and_crop, _base_.colors, _base_.semi_unlabeled
]"""
    if pastes:
        views = """[
    *load_and_crop,
    # Copy-paste starts from the original colours.
    dict(_base_.semi_unlabeled, unsup_teacher=[_base_.colors, _base_.pack]),
]"""
    loop, watch = '', ''
    if s.validations:
        loop = "val_cfg = dict(type='OnePassTeacherStudentValLoop')\n"
        patience = max(3, s.validations // 2)
        watch = f"""
    # Ends when half the validations have brought nothing.
    early_stopping=dict(
        type='EarlyStoppingHook',
        monitor='student/coco/segm_mAP',
        rule='greater',
        patience={patience},
    ),"""
    what = f'{method}, with the unlabelled images; the teacher is {SUPERVISED}'
    best = save_best_text(s, 'student/coco/segm_mAP')
    return f"""{head_text(f'{what}.')}_base_ = [
{listed}]

{HERE}
unlabeled_images = {as_text(unlabeled_images)}
max_iters = {s.student_iters}
{val_interval_text(s, s.student_iters)}
model = dict(
    _base_.semi_model,
    _delete_=True,
    detector=_base_.model,
    data_preprocessor=dict(
        _base_.model.data_preprocessor, type='SemiDataPreprocessor'
    ),{labeler}{parts}
    semi_train_cfg=dict(sup_weight=1.0, unsup_weight={s.unsup_weight:g}),
    teacher_checkpoint=folder + '/stages/supervised',
)

load_and_crop = [*_base_.load_unlabeled, *_base_.geometry]
train_dataloader = dict(
    _base_.semi_dataloader,
    _delete_=True,
    batch_size={2 * s.batch},
    num_workers={s.workers},
    persistent_workers={s.workers > 0},
    sampler=dict(
        type='SemiSampler',
        num_labeled={s.batch},
        num_unlabeled={s.batch},
        # Above 0, images of rare classes are drawn more often.
        repeat_thr={1.0 if s.balance else 0.0},
    ),
    dataset=dict(
        type='SemiDataset',
        labeled=dict(
            _base_.labeled, pipeline=[*_base_.steps, _base_.semi_labeled]
        ),
        unlabeled=dict(
            _base_.labeled,
            ann_file=_base_.annotations + 'unlabeled.json',
            data_prefix=dict(img=unlabeled_images),
            filter_cfg=dict(filter_empty_gt=False),
            pipeline={indent(views, 12)},
        ),
    ),
)
{loop}
{schedule_text(s)}
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
default_hooks = dict(
    # The teacher stays as it is in burn-in, then it follows the student.
    mean_teacher=dict(
        type='BurnInMeanTeacherHook',
        burn_in={s.burn_in},
        momentum={s.momentum:g},
    ),
    drift_log=_base_.drift_log,{hooks}
    checkpoint=dict(interval=val_interval{best}),{watch}
)
auto_scale_lr = dict(base_batch_size={2 * s.batch * s.accumulate})
"""
