# SPDX-License-Identifier: Apache-2.0
"""Each remedy as a config of one line, and all of them in one training."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmengine.config import Config
from semi_trainings import Spy, equal, run, semi_config
from short_trainings import train

REMEDIES = ROOT / 'configs/_base_/methods/remedies.py'
HOOKS = ('precise_thresholds', 'late_average')


def _config(tmp_path, name: str) -> Config:
    """A config as docs/remedies.md tells users to write it."""
    kind = 'default_hooks' if name in HOOKS else 'model'
    row = 's4m/s4m_shapes_5p.py'
    path = tmp_path / f'{name}.py'
    path.write_text(
        f"_base_ = ['{ROOT}/configs/{row}', '{REMEDIES}']\n"
        f'{kind} = _base_.{name}\n'
    )
    return Config.fromfile(path)


def _differences(new, old, path='') -> dict[str, object]:
    found: dict[str, object] = {}
    for key in sorted({*new, *old}):
        a, b = new.get(key), old.get(key)
        where = f'{path}.{key}'
        if isinstance(a, dict) and isinstance(b, dict):
            found.update(_differences(a, b, where))
        elif a != b:
            found[where] = a
    return found


def test_configs__change_what_they_name(tmp_path):
    """Nothing but the option, whose component builds."""
    names = [n for n in Config.fromfile(REMEDIES) if not n.startswith('_')]
    plain = Config.fromfile(ROOT / 'configs/s4m/s4m_shapes_5p.py')
    seen = {}
    for name in names:
        cfg = _config(tmp_path, name)
        changed = _differences(
            dict(model=cfg.model, hooks=cfg.default_hooks),
            dict(model=plain.model, hooks=plain.default_hooks),
        )
        assert changed
        seen[name] = sorted(changed)
        labeler = MODELS.build(cfg.model.pseudo_labeler)
        assert hasattr(labeler, 'run_teacher')
        MODELS.build(cfg.model.refiner)
    assert seen['no_duplicates'] == ['.model.pseudo_labeler.nms_iou_thr']
    assert seen['late_average'] == ['.hooks.mean_teacher.ema_start']
    assert seen['precise_thresholds'] == ['.hooks.thresholds']


def _all_remedies(make, name: str, **kwargs) -> Config:
    cfg = semi_config(make, name, **kwargs)
    cfg.default_hooks.mean_teacher.update(burn_in=0, ema_start=1)
    cfg.default_hooks.thresholds = dict(
        type='PrecisionThresholdHook',
        interval=1,
        min_thr=0.12,
        max_thr=0.3,
        min_count=1,
    )
    cfg.model.semi_train_cfg.bn_stats = 'labeled'
    cfg.model.pseudo_labeler = dict(
        type='ViewAgreementPseudoLabeler',
        iou_thr=0.05,
        labeler=dict(
            cfg.model.pseudo_labeler,
            cls_thr=0.12,
            nms_iou_thr=0.5,
            weight_by='mask_score',
        ),
    )
    return cfg


def test_training__of_all_remedies_resumes(shapes_config):
    """With two iterations more, as if it had not stopped."""
    cfg = _all_remedies(shapes_config, 'guided_distillation_shapes_5p')
    want = train(cfg, 3)
    state = {k: v.clone() for k, v in want.model.state_dict().items()}
    thresholds = want.model.pseudo_labeler.thresholds.clone()
    assert len(thresholds) == 8
    cfg.work_dir += '_resumed'
    train(cfg, 1)
    got = train(cfg, 3, resume=True)
    assert equal(got.model.state_dict(), state)
    assert torch.equal(got.model.pseudo_labeler.thresholds, thresholds)


@pytest.mark.parametrize('cls_thr', [0.0, 1.0])
def test_training__with_a_refiner(shapes_config, cls_thr):
    """Many pseudo-labels, or none at all."""
    cfg = _all_remedies(shapes_config, 's4m_shapes_5p', iters=2)
    cfg.model.refiner.update(
        min_refine_iou=0.01, nms_iou_thr=0.5, weight_by_iou=True
    )
    cfg.model.pseudo_labeler.labeler.cls_thr = cls_thr
    cfg.default_hooks.thresholds.update(min_count=1e6)
    spy = Spy()
    run(cfg, spy)
    for out in spy.outputs:
        assert all(torch.isfinite(v).all() for v in out.values())
    num = sum(out['num_pseudo'].item() for out in spy.outputs)
    assert (num == 0) == (cls_thr == 1)
