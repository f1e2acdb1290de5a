# SPDX-License-Identifier: Apache-2.0
"""Thresholds by precision, on labels that the test makes itself."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from s4m.engine import PrecisionThresholdHook
from s4m.models import QueryPseudoLabeler
from torch import nn

CLASSES = ('a', 'b', 'c')
#: Class, score and whether it is right, of the labels of an image.
LABELS = [
    (0, 0.95, True), (0, 0.85, True), (0, 0.65, True), (0, 0.55, False),
    (0, 0.45, True), (1, 0.95, True), (1, 0.85, False), (1, 0.75, True),
    (2, 0.995, True),
]  # fmt: skip


class _Model(nn.Module):
    """Labels one image by the table above."""

    def __init__(self) -> None:
        super().__init__()
        self.pseudo_labeler = QueryPseudoLabeler(cls_thr=[0.7, 0.7, 0.6])
        self.data_preprocessor = nn.Identity()
        self.unsup_weight = 1.0
        self.calls = 0

    def get_pseudo_instances(self, rgb, samples):
        self.calls += 1
        assert not torch.is_grad_enabled()
        thresholds = self.pseudo_labeler.thresholds
        rows = [
            (i, *row)
            for i, row in enumerate(LABELS)
            if row[1] > thresholds.expand(3)[row[0]]
        ]
        masks = torch.zeros(len(rows), 9, 4, dtype=torch.bool)
        for mask, (i, *_) in zip(masks, rows, strict=True):
            mask[i] = True
        item = InstanceData(
            labels=torch.tensor([row[1] for row in rows]),
            scores=torch.tensor([row[2] for row in rows]),
            masks=masks,
        )
        return [item for _ in samples]


def _batch() -> dict:
    """An image whose objects lie in the rows of the right labels."""
    rows = [i for i, (_, _, right) in enumerate(LABELS) if right]
    masks = torch.zeros(len(rows), 9, 4, dtype=torch.uint8)
    for mask, row in zip(masks, rows, strict=True):
        mask[row] = 1
    gt = InstanceData(
        labels=torch.tensor([LABELS[i][0] for i in rows]),
        masks=BitmapMasks(masks.numpy(), 9, 4),
    )
    return dict(
        inputs=dict(sup=torch.zeros(1, 3, 9, 4)),
        data_samples=dict(sup=[DetDataSample(gt_instances=gt)]),
    )


def _runner() -> SimpleNamespace:
    logged: dict[str, float] = {}
    return SimpleNamespace(
        model=_Model(),
        hooks=[],
        iter=0,
        _resume=False,
        train_dataloader=SimpleNamespace(
            dataset=SimpleNamespace(metainfo=dict(classes=CLASSES))
        ),
        optim_wrapper=SimpleNamespace(optim_context=lambda _: nullcontext()),
        message_hub=SimpleNamespace(update_scalar=logged.__setitem__),
        logged=logged,
    )


def _step(hook, runner) -> list[float]:
    hook.before_train_iter(runner, 0)
    runner.model.data_preprocessor(_batch())
    hook.after_train_iter(runner, 0)
    runner.iter += 1
    return [
        round(v, 4) for v in runner.model.pseudo_labeler.thresholds.tolist()
    ]


def test_thresholds__hand_computed():
    runner = _runner()
    hook = PrecisionThresholdHook(
        0.74, interval=1, min_thr=0.4, max_thr=0.9, min_count=2
    )
    hook.before_train(runner)
    # Class a: all five (4 / 5) are precise enough, down to 0.45. Class b:
    # only the first is (2 / 3 with the third); the lower bound of its bin is
    # above max_thr. Class c has one label, which is less than two.
    assert _step(hook, runner) == pytest.approx([0.45, 0.9, 0.6], abs=0.011)
    # Once more: now class c has 0.9 + 1 labels, still less than two, then
    # 0.81 + 0.9 + 1, and its threshold would be above max_thr.
    assert _step(hook, runner)[2] == 0.6
    assert _step(hook, runner)[2] == 0.9
    assert runner.logged['train/pseudo_thr'] == pytest.approx(0.75, abs=0.01)
    assert not runner.model.data_preprocessor._forward_hooks


def test_thresholds__higher_bound_and_higher_precision():
    runner = _runner()
    hook = PrecisionThresholdHook(0.9, interval=1, min_thr=0.7, min_count=0)
    hook.before_train(runner)
    assert _step(hook, runner)[0] == pytest.approx(0.85, abs=0.011)
    hook = PrecisionThresholdHook(0.9, interval=1, min_thr=0.4, min_count=0)
    hook.before_train(runner)
    # 3 / 3 from 0.65 on, 3 / 4 from 0.55 on, 4 / 5 from 0.45 on.
    assert _step(hook, runner)[0] == pytest.approx(0.65, abs=0.011)


def test_interval__and_labeled_burn_in():
    runner = _runner()
    hook = PrecisionThresholdHook(interval=3)
    hook.before_train(runner)
    calls = []
    for _ in range(6):
        _step(hook, runner)
        calls.append(runner.model.calls)
    assert calls == [0, 0, 1, 1, 1, 2]
    runner.model.unsup_weight = 0.0  # there is no teacher yet
    for _ in range(3):
        _step(hook, runner)
    assert runner.model.calls == 2
    assert not runner.model.data_preprocessor._forward_hooks


def test_counts__survive_a_resume():
    runner = _runner()
    options = dict(precision=0.6, interval=1, min_thr=0.4, min_count=3)
    hook = PrecisionThresholdHook(**options)
    hook.before_train(runner)
    _step(hook, runner)
    checkpoint: dict = {}
    hook.before_save_checkpoint(runner, checkpoint)
    before = runner.model.pseudo_labeler.thresholds.clone()
    assert not torch.equal(before, torch.tensor([0.7, 0.7, 0.6]))
    want = _step(hook, runner)

    other = _runner()
    other._resume = True
    resumed = PrecisionThresholdHook(**options)
    resumed.after_load_checkpoint(other, checkpoint)
    resumed.before_train(other)
    assert torch.equal(other.model.pseudo_labeler.thresholds, before)
    assert _step(resumed, other) == want

    # A training that starts from weights counts anew; other classes stop it.
    other = _runner()
    resumed.after_load_checkpoint(other, checkpoint)
    fresh = PrecisionThresholdHook(**options)
    fresh.after_load_checkpoint(other, checkpoint)
    fresh.before_train(other)
    assert fresh._counts.sum() == 0
    other.train_dataloader.dataset.metainfo['classes'] = ('a', 'b')
    with pytest.raises(ValueError, match='counts of 3 classes'):
        resumed.before_train(other)


def test_counts__are_the_sum_of_all_processes(monkeypatch):
    """Two processes with one label each are enough for two labels."""
    options = dict(precision=0.9, interval=1, min_count=2, decay=0.0)
    for processes, want in ((1, 0.6), (2, 0.95)):
        monkeypatch.setattr(
            's4m.engine.hooks.precision_threshold_hook.all_reduce',
            lambda counts, n=processes: counts.mul_(n),
        )
        runner = _runner()
        hook = PrecisionThresholdHook(**options)
        hook.before_train(runner)
        assert _step(hook, runner)[2] == want


def test_before_train__labeler_without_thresholds():
    runner = _runner()
    runner.model.pseudo_labeler = nn.Identity()
    with pytest.raises(ValueError, match=r'Identity.*default_hooks\.thresh'):
        PrecisionThresholdHook().before_train(runner)


@pytest.mark.parametrize(
    'options',
    [
        dict(precision=0),
        dict(interval=0),
        dict(min_thr=0.8, max_thr=0.7),
        dict(max_thr=1.5),
        dict(decay=-0.1),
        dict(min_count=-1),
        dict(iou_thr=0.4),
    ],
)
def test_init__bad_value(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PrecisionThresholdHook(**options)
