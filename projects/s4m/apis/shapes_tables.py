# SPDX-License-Identifier: Apache-2.0
"""Define the rows of the tables on Shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .records import inputs_of
from .splits import value_of
from .stages import Stage, stages_of

_BURN_IN = 'default_hooks.mean_teacher.burn_in'


def schedule(cfg: Config, iters: int, seed: int) -> dict[str, Any]:
    """Return options of a Shapes config for another length and seed.

    Burn-in takes five eighths of the iterations and a warm-up a tenth, as in
    the configs of 800 iterations. A stage that continues from a student's
    weights (SSKD's refinement) has a tenth of the iterations.

    Args:
        cfg (Config): Config of Shapes.
        iters (int): Number of iterations.
        seed (int): Seed of the training.

    Returns:
        dict[str, Any]: values by dotted key, for ``cfg_options``.
    """
    if 'load_from' in inputs_of(cfg):
        iters = max(1, iters // 10)
    options: dict[str, Any] = {
        'train_cfg.max_iters': iters,
        # tools/test.py evaluates; a validation would repeat it.
        'train_cfg.val_begin': iters + 1,
        'default_hooks.checkpoint.interval': max(1, iters // 4),
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
        config (str): Name of the config.
        weight (float, optional): ``unsup_weight`` of the run. Defaults to
            None, the config's value.

    Example:
        >>> Row('2', 'guided_distillation_shapes_5p', 2).run
        'guided_distillation_shapes_5p_w2'
    """

    name: str
    config: str
    weight: float | None = None

    @property
    def run(self) -> str:
        """Name of the run: the config and, if it is set, the weight."""
        if self.weight is None:
            return self.config
        return f'{self.config}_w{self.weight:g}'

    def stages(self, iters: int, seed: int, work_dir: Path) -> list[Stage]:
        """Derive the stages of this row; rows share equal stages."""
        *before, last = stages_of(
            self.config,
            root=work_dir / str(iters) / str(seed),
            options_of=lambda cfg: schedule(cfg, iters, seed),
        )
        if self.weight is not None:
            options = {'model.semi_train_cfg.unsup_weight': self.weight}
            last = replace(
                last,
                makes=last.makes.with_name(self.run),
                options={**last.options, **options},
            )
        return [*before, last]


def _row(name: str, config: str, weight: float | None = None) -> Row:
    return Row(name, f'{config}_shapes_5p', weight)


GUIDED = 'guided_distillation'
TABLES = {
    'methods': (
        _row('Supervised', 'supervised'),
        _row('S4M teacher', 's4m_teacher'),
        _row('Guided Distillation', GUIDED),
        _row('S4M', 's4m'),
    ),
    'ablation': (
        _row('none', GUIDED),
        _row('SD', 's4m_sd'),
        _row('PR', 's4m_pr'),
        _row('ARP without PR', 's4m_arp'),
        _row('PR + ARP', 's4m_pr_arp'),
        _row('SD + PR + ARP (S4M)', 's4m'),
        _row('S4M, in_mask', 's4m_in_mask'),
    ),
    # Guided Distillation, Table 4, Figure 6 and Table 5.
    'strategies': (
        _row('Supervised', 'supervised'),
        _row('No burn-in', f'{GUIDED}_no_burn_in'),
        _row('Fixed teacher', f'{GUIDED}_fixed_teacher'),
        _row('Standard', f'{GUIDED}_standard'),
        _row('Guided', GUIDED),
    ),
    'augmentation': (
        _row('Same views', f'{GUIDED}_same_views'),
        _row('Textural', GUIDED),
        _row('With cutout', f'{GUIDED}_cutout'),
    ),
    'weights': (
        _row('0 (supervised)', 'supervised'),
        _row('0.1', GUIDED, 0.1),
        _row("0.5 (the configs')", GUIDED),
        _row('2', GUIDED, 2),
        _row('5', GUIDED, 5),
    ),
    # SSKD: stages, terms of the loss, negatives.
    'sskd_stages': (
        _row('Teacher, supervised', 'sskd_teacher_supervised'),
        _row('Teacher, adapted (1a)', 'sskd_teacher_adapt'),
        _row('Teacher, self-trained (1b)', 'sskd_teacher_selftrain'),
        _row('Student, supervised', 'sskd_student_supervised'),
        _row('Student, pseudo-labels only', 'sskd_semi'),
        _row('Student, stage 2', 'sskd_distill'),
        _row('Student, refined (stage 3)', 'sskd_refine'),
    ),
    'sskd_terms': (
        _row('Student, supervised', 'sskd_student_supervised'),
        _row('+ semi', 'sskd_sup_semi'),
        _row('+ pxl', 'sskd_sup_pxl'),
        _row('all', 'sskd_distill'),
    ),
    'sskd_sampling': (
        _row('uniform', 'sskd_uniform'),
        _row('mask', 'sskd_mask'),
        _row('class', 'sskd_class'),
        _row('fusion', 'sskd_distill'),
    ),
}
