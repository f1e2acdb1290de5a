# SPDX-License-Identifier: Apache-2.0
"""Define the data sets and the rows of the tables that compare methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .records import inputs_of
from .splits import value_of
from .stages import Stage, stages_of

_BURN_IN = 'default_hooks.mean_teacher.burn_in'


@dataclass(frozen=True)
class Bed:
    """A small data set on which methods are compared.

    Attributes:
        name (str): Name in a table.
        configs (str): End of the names of its configs.
        iters (int): Number of iterations of a run.
        metrics (dict[str, str]): Metrics of ``tools/test.py`` by their names
            in a table; the first is the one that is compared.
        val_images (int, optional): Number of images of a validation during
            training. Defaults to None, all of them. A test at the end always
            has all images.
        validations (int): Validations of a run; the curves of a report have
            this many points. Defaults to 10.
    """

    name: str
    configs: str
    iters: int
    metrics: dict[str, str]
    val_images: int | None = None
    validations: int = 10


BEDS = {
    'shapes': Bed(
        'Shapes',
        'shapes_5p',
        1200,
        {
            'AP': 'cityscapes/mAP',
            'AP50': 'cityscapes/AP@50',
            'COCO AP': 'coco/segm_mAP',
        },
        val_images=50,
    ),
    'nuclei': Bed(
        'Nuclei',
        'nuclei_14p',
        240,
        {
            'AP': 'coco/segm_mAP',
            'AP50': 'coco/segm_mAP_50',
            'AP75': 'coco/segm_mAP_75',
        },
        val_images=10,
        validations=5,
    ),
}


def schedule(
    cfg: Config, iters: int, seed: int, validations: int = 0
) -> dict[str, Any]:
    """Return options of a bed's config for another length and seed.

    Burn-in takes five eighths of the iterations and a warm-up a tenth, as in
    the configs. A stage that continues from a student's weights (SSKD's
    refinement) has a tenth of the iterations.

    Args:
        cfg (Config): Config of Shapes or Nuclei.
        iters (int): Number of iterations.
        seed (int): Seed of the training.
        validations (int): Number of validations during training. Defaults to
            0, since ``tools/test.py`` evaluates the result.

    Returns:
        dict[str, Any]: values by dotted key, for ``cfg_options``.
    """
    if 'load_from' in inputs_of(cfg):
        iters = max(1, iters // 10)
    interval = max(1, iters // validations) if validations else iters + 1
    options: dict[str, Any] = {
        'train_cfg.max_iters': iters,
        'train_cfg.val_begin': interval,
        'train_cfg.val_interval': interval,
        # MMEngine formats the config in every checkpoint, which takes seconds.
        'default_hooks.checkpoint.interval': max(1, iters // 2),
        # 40 points make a curve.
        'default_hooks.logger.interval': max(1, iters // 40),
        'randomness.seed': seed,
    }
    if isinstance(cfg.param_scheduler, dict):
        options['param_scheduler.end'] = iters
    else:
        warm_up = iters // 10
        options['param_scheduler.0.end'] = warm_up
        options['param_scheduler.1.begin'] = warm_up
        options['param_scheduler.1.end'] = iters
    if value_of(cfg, _BURN_IN):
        options[_BURN_IN] = iters * 5 // 8
    return options


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name (str): Name in the table.
        method (str): Name of the config without the data set.
        options (dict[str, Any]): Values that the last stage of the row
            changes, by dotted key. Defaults to none.
        tag (str): End of the run's name that stands for the options. Defaults
            to none.

    Example:
        >>> weight = {'model.semi_train_cfg.unsup_weight': 2}
        >>> Row('2', 'guided_distillation', weight, 'w2').run(BEDS['shapes'])
        'guided_distillation_shapes_5p_w2'
    """

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tag: str = ''

    def run(self, bed: Bed) -> str:
        """Name of the run: the config and, if there are options, the tag."""
        end = f'_{self.tag}' if self.tag else ''
        return f'{self.method}_{bed.configs}{end}'

    def stages(
        self, bed: Bed, iters: int, seed: int, work_dir: Path
    ) -> list[Stage]:
        """Derive the stages of this row; rows share equal stages."""

        def options_of(cfg: Config) -> dict[str, Any]:
            options = schedule(cfg, iters, seed, bed.validations)
            if bed.val_images is not None:
                options['val_dataloader.dataset.indices'] = bed.val_images
            return options

        *before, last = stages_of(
            f'{self.method}_{bed.configs}',
            root=work_dir / str(iters) / str(seed),
            options_of=options_of,
        )
        if self.options:
            last = replace(
                last,
                makes=last.makes.with_name(self.run(bed)),
                options={**last.options, **self.options},
            )
        return [*before, last]


def _weight(value: float) -> Row:
    return Row(
        f'{value:g}',
        GUIDED,
        {'model.semi_train_cfg.unsup_weight': value},
        f'w{value:g}',
    )


GUIDED = 'guided_distillation'
RTMDET = 'rtmdet_ins'
_NMS = {'model.pseudo_labeler.nms_iou_thr': 0.5}
#: What keeps a detector from drifting (docs/results/nuclei.md): labels count
#: where they are precise and are ignored below that, an object has one label,
#: and strong augmentation does not shift the student's statistics.
_REMEDIES = {
    'model.pseudo_labeler.score_thr': 0.3,
    'model.pseudo_labeler.weight_by': 'score',
    'model.pseudo_labeler.weight_range': [0.45, 0.55],
    **_NMS,
    'model.semi_train_cfg.bn_stats': 'labeled',
}
TABLES = {
    'methods': (
        Row('Supervised', 'supervised'),
        Row('S4M teacher', 's4m_teacher'),
        Row('Guided Distillation', GUIDED),
        Row('S4M', 's4m'),
        Row('Guided Distillation, no duplicates', GUIDED, _NMS, 'nms'),
        Row('S4M, no duplicates', 's4m', _NMS, 'nms'),
    ),
    'ablation': (
        Row('none', GUIDED),
        Row('SD', 's4m_sd'),
        Row('PR', 's4m_pr'),
        Row('ARP without PR', 's4m_arp'),
        Row('PR + ARP', 's4m_pr_arp'),
        Row('SD + PR + ARP (S4M)', 's4m'),
        Row('S4M, in_mask', 's4m_in_mask'),
    ),
    # Guided Distillation, Table 4, Figure 6 and Table 5.
    'strategies': (
        Row('Supervised', 'supervised'),
        Row('No burn-in', f'{GUIDED}_no_burn_in'),
        Row('Fixed teacher', f'{GUIDED}_fixed_teacher'),
        Row('Standard', f'{GUIDED}_standard'),
        Row('Guided', GUIDED),
    ),
    'augmentation': (
        Row('Same views', f'{GUIDED}_same_views'),
        Row('Textural', GUIDED),
        Row('With cutout', f'{GUIDED}_cutout'),
    ),
    'weights': (
        Row('0 (supervised)', 'supervised'),
        _weight(0.1),
        Row("0.5 (the configs')", GUIDED),
        _weight(2),
        Row(
            '2, one label for each object',
            GUIDED,
            {'model.semi_train_cfg.unsup_weight': 2, **_NMS},
            'w2_nms',
        ),
        _weight(5),
    ),
    # docs/remedies.md, each option alone.
    'remedies': (
        Row('Guided Distillation', GUIDED),
        Row('one label for each object', GUIDED, _NMS, 'nms'),
        Row(
            'soft weights',
            GUIDED,
            {'model.pseudo_labeler.weight_by': 'mask_score'},
            'soft',
        ),
        Row(
            'statistics of labelled images',
            GUIDED,
            {'model.semi_train_cfg.bn_stats': 'labeled'},
            'bn',
        ),
        Row(
            'slower average (a quarter)',
            GUIDED,
            {'default_hooks.mean_teacher.momentum': 0.005},
            'slow',
        ),
        Row(
            'threshold 0.85',
            GUIDED,
            {'model.pseudo_labeler.cls_thr': 0.85},
            'thr85',
        ),
    ),
    # The bed Nuclei's; a detector suppresses duplicates itself.
    'detector': (
        Row('Supervised', f'supervised_{RTMDET}'),
        Row('Guided Distillation', f'{GUIDED}_{RTMDET}'),
        Row(
            'Guided Distillation, remedies',
            f'{GUIDED}_{RTMDET}',
            _REMEDIES,
            'remedies',
        ),
        Row('PR, remedies', f's4m_pr_{RTMDET}', _REMEDIES, 'remedies'),
    ),
    # SSKD: stages, terms of the loss, negatives.
    'sskd_stages': (
        Row('Teacher, supervised', 'sskd_teacher_supervised'),
        Row('Teacher, adapted (1a)', 'sskd_teacher_adapt'),
        Row('Teacher, self-trained (1b)', 'sskd_teacher_selftrain'),
        Row('Student, supervised', 'sskd_student_supervised'),
        Row('Student, pseudo-labels only', 'sskd_semi'),
        Row('Student, stage 2', 'sskd_distill'),
        Row('Student, refined (stage 3)', 'sskd_refine'),
    ),
    'sskd_terms': (
        Row('Student, supervised', 'sskd_student_supervised'),
        Row('+ semi', 'sskd_sup_semi'),
        Row('+ pxl', 'sskd_sup_pxl'),
        Row('all', 'sskd_distill'),
    ),
    'sskd_sampling': (
        Row('uniform', 'sskd_uniform'),
        Row('mask', 'sskd_mask'),
        Row('class', 'sskd_class'),
        Row('fusion', 'sskd_distill'),
    ),
}
