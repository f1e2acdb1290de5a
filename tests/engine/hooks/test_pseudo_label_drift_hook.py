# SPDX-License-Identifier: Apache-2.0
"""The log of pseudo-labels and the warning, without a training."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from s4m.engine import PseudoLabelDriftHook
from s4m.models import PredictionPseudoLabeler, QueryPseudoLabeler
from torch import nn

KEY = 'student/cityscapes/mAP'
FALL = (0.278, 0.261, 0.249, 0.233)


class Labeller(nn.Module):
    """Returns the labels that it is given."""

    def forward(self, outputs, samples):
        return outputs


def _labels(*starts: int) -> InstanceData:
    """Labels of 10 columns each, the best score first."""
    masks = torch.zeros(len(starts), 4, 40, dtype=torch.bool)
    for mask, start in zip(masks, starts, strict=True):
        mask[:, start : start + 10] = True
    scores = torch.arange(len(starts), 0, -1) / 10
    return InstanceData(masks=masks, scores=scores)


@pytest.fixture
def make_runner(tmp_path):
    """Make runners that share a work directory and log each 2 iterations."""

    def make(save_best: str | None = KEY) -> SimpleNamespace:
        model = nn.Module()
        model.pseudo_labeler = Labeller()
        model.weight = nn.Parameter(torch.zeros(1))
        lines: list[str] = []
        logger = SimpleNamespace(warning=lines.append, info=lines.append)
        return SimpleNamespace(
            model=model,
            iter=0,
            work_dir=str(tmp_path),
            message_hub=MessageHub('drift'),
            hooks=[
                LoggerHook(interval=2),
                CheckpointHook(
                    by_epoch=False, save_best=save_best, rule='greater'
                ),
            ],
            logger=logger,
            lines=lines,
        )

    return make


def _label(hook, runner, *images: InstanceData) -> None:
    """One iteration, in which the teacher labels images or does not."""
    if images:
        runner.model.pseudo_labeler(list(images), None)
    hook.after_train_iter(runner, runner.iter)
    runner.iter += 1


def _validate(hook, runner, *aps: float) -> None:
    """Validations at each iteration."""
    for ap in aps:
        runner.iter += 1
        hook.after_val_epoch(runner, {KEY: ap, 'teacher/cityscapes/mAP': 0.5})


def _value(runner, name: str) -> float:
    return runner.message_hub.get_scalar(name).current()


def test_counts__means_of_the_interval(make_runner):
    runner, hook = make_runner(), PseudoLabelDriftHook()
    hook.before_train(runner)
    # Three labels, of which one repeats another; none; two; two images none.
    _label(hook, runner, _labels(0, 2, 20), _labels())
    assert not runner.message_hub.log_scalars
    _label(hook, runner, _labels(0, 20), _labels())
    assert _value(runner, 'train/pseudo_labels/per_image') == 5 / 4
    assert _value(runner, 'train/pseudo_labels/duplicates') == 1 / 4
    # The next interval begins at 0.
    _label(hook, runner, _labels(), _labels())
    _label(hook, runner, _labels(), _labels())
    assert _value(runner, 'train/pseudo_labels/per_image') == 0
    # Nothing was labelled, as in a burn-in on labelled images: no new value.
    _label(hook, runner)
    _label(hook, runner)
    data = runner.message_hub.get_scalar('train/pseudo_labels/per_image').data
    assert len(data[0]) == 2
    # A validation labels other images.
    runner.model.eval()
    _label(hook, runner, _labels(0, 0, 0))
    runner.model.train()
    _label(hook, runner)
    assert len(data[0]) == 2
    hook.after_train(runner)
    assert not runner.model.pseudo_labeler._forward_hooks


def test_counts__of_refined_labels(make_runner):
    """The student learns from the refiner's masks."""
    runner, hook = make_runner(), PseudoLabelDriftHook()
    runner.model.refiner = Labeller()
    hook.before_train(runner)
    for _ in range(2):
        runner.model.pseudo_labeler([_labels(0, 20)], None)
        runner.model.refiner([_labels(0, 1)], None)
        _label(hook, runner)
    assert _value(runner, 'train/pseudo_labels/duplicates') == 1


def test_counts__of_the_labellers(make_runner):
    """Masks at a quarter of the size, and at the size of the image."""
    masks = torch.zeros(3, 32, 64, dtype=torch.bool)
    masks[:2, :, :32] = masks[2, :, 40:] = True
    sample = DetDataSample(metainfo=dict(batch_input_shape=(32, 64)))
    sample.pred_instances = InstanceData(
        labels=torch.tensor([0, 1, 0]), scores=torch.ones(3), masks=masks
    )
    logits = masks[None, :, ::4, ::4] * 20.0 - 10
    classes = torch.tensor([[[9.0, 0, 0], [0, 9, 0], [9, 0, 0]]])
    for labeller, outputs in (
        (PredictionPseudoLabeler(), [sample]),
        (QueryPseudoLabeler(), ([classes], [logits])),
    ):
        runner, hook = make_runner(), PseudoLabelDriftHook()
        runner.model.pseudo_labeler = labeller
        hook.before_train(runner)
        for _ in range(2):
            labeller(outputs, [sample])
            _label(hook, runner)
        assert _value(runner, 'train/pseudo_labels/per_image') == 3
        assert _value(runner, 'train/pseudo_labels/duplicates') == 1


def test_counts__of_each_validation(make_runner):
    """All iterations since the last validation, however many logs."""
    runner, hook = make_runner(), PseudoLabelDriftHook()
    hook.before_train(runner)
    for _ in range(3):
        _label(hook, runner, _labels(0, 20))
    _label(hook, runner, _labels(0, 0, 0, 0, 0, 0))
    _label(hook, runner, _labels(0, 20))
    _validate(hook, runner, 0.1)
    _label(hook, runner, _labels(0))
    _validate(hook, runner, 0.2, 0.3)
    figures = [entry['figures'] for entry in hook.history.entries]
    assert figures[0] == dict(per_image=14 / 5, duplicates=1)
    assert figures[1:] == [dict(per_image=1, duplicates=0), {}]


def test_warning__one_line_with_counts_and_weights(make_runner):
    runner, hook = make_runner(), PseudoLabelDriftHook()
    hook.before_train(runner)
    runner.message_hub.update_info('best_ckpt', 'runs/best_student.pth')
    _label(hook, runner, _labels(0, 20))
    _validate(hook, runner, *FALL[:3])
    assert not runner.lines
    _label(hook, runner, _labels(0, 1, 2, 20))
    _validate(hook, runner, FALL[3])
    (line,) = runner.lines
    assert '\n' not in line
    assert line.startswith(
        "The student's AP (student/cityscapes/mAP) has fallen since its best "
        'value, 3 validations ago (27.8 -> 26.1 -> 24.9 -> 23.3) while, per '
        'image, pseudo-labels grew from 2.0 to 4.0, duplicates grew from 0.0 '
        'to 2.0: the teacher drifts. The best weights are '
        'runs/best_student.pth. '
    )
    assert 'mean_teacher.strategy=fixed' in line
    _validate(hook, runner, 0.2, 0.19)
    assert len(runner.lines) == 1
    _validate(hook, runner, 0.3, *FALL)
    assert len(runner.lines) == 2
    hook.after_train(runner)
    assert runner.lines[2] == (
        "The student's AP (student/cityscapes/mAP): best 30.0 at iteration "
        '9, last 23.3 at iteration 13. The best weights are '
        'runs/best_student.pth.'
    )


def test_warning__best_weights_that_are_not_kept(make_runner):
    """``monitor`` watches an AP without a checkpoint."""
    runner = make_runner(save_best=None)
    hook = PseudoLabelDriftHook(monitor=KEY, patience=1)
    hook.before_train(runner)
    _validate(hook, runner, 0.2, 0.1)
    advice = f'set default_hooks.checkpoint.save_best={KEY}.'
    assert len(runner.lines) == 1 and advice in runner.lines[0]
    # Neither a monitor nor a save_best: counts alone.
    runner, hook = make_runner(save_best=None), PseudoLabelDriftHook()
    hook.before_train(runner)
    _validate(hook, runner, 0.2, 0.1)
    assert not hook.history.entries


def test_key__of_several_the_students(make_runner):
    runner = make_runner()
    checkpoint = runner.hooks[1]
    hook = PseudoLabelDriftHook(patience=1)
    hook.before_train(runner)
    checkpoint.key_indicators = ['teacher/cityscapes/mAP', KEY]
    _validate(hook, runner, 0.2)
    checkpoint.key_indicators = ['auto']  # the first of the results
    _validate(hook, runner, 0.3)
    assert [e['ap'] for e in hook.history.entries] == [0.2, 0.3]
    checkpoint.key_indicators = ['student/coco/segm_mAP']
    message = "no 'student/coco/segm_mAP'.*monitor to one of .*teacher/city"
    with pytest.raises(ValueError, match=message):
        _validate(hook, runner, 0.3)


@pytest.mark.parametrize('stop', [1, 2, 3])
def test_resume__in_the_middle_of_a_fall(make_runner, tmp_path, stop):
    """From the checkpoint, and from the log of what came after it."""
    first, hook = make_runner(), PseudoLabelDriftHook()
    hook.before_train(first)
    _validate(hook, first, *FALL[: stop - 1])
    # A checkpoint is written before the validation of its iteration.
    state = first.message_hub.state_dict()
    _validate(hook, first, FALL[stop - 1], 0.9)
    folder = tmp_path / '1/vis_data'
    folder.mkdir(parents=True)
    rows = [
        {'step': step, KEY: ap, 'pseudo_labels/per_image': 3.5}
        for step, ap in enumerate((*FALL[:stop], 0.9), 1)
    ]
    text = '\n'.join(map(json.dumps, rows))
    (folder / 'scalars.json').write_text(text)

    second, hook = make_runner(), PseudoLabelDriftHook()
    second.message_hub.load_state_dict(state)
    second.iter = stop  # validation `stop` is over, the next one is not
    hook.before_train(second)
    assert [e['ap'] for e in hook.history.entries] == list(FALL[:stop])
    assert hook.history.entries[-1]['figures'] == dict(per_image=3.5)
    _validate(hook, second, *FALL[stop:], 0.2)
    assert len(second.lines) == 1 and '27.8 -> 26.1' in second.lines[0]

    # A new training in the same folder.
    third, hook = make_runner(), PseudoLabelDriftHook()
    hook.before_train(third)
    assert not hook.history.entries


def test_model_without_a_labeller(make_runner):
    """The hook has nothing to log, and does not mind."""
    runner, hook = make_runner(), PseudoLabelDriftHook()
    runner.model.pseudo_labeler = None
    hook.before_train(runner)
    _label(hook, runner)
    _validate(hook, runner, *FALL)
    hook.after_train(runner)
    assert not runner.lines and not runner.message_hub.log_scalars


def test_bad_values(make_runner):
    with pytest.raises(ValueError, match='patience=0'):
        PseudoLabelDriftHook(patience=0)
    with pytest.raises(ValueError, match='num_images'):
        PseudoLabelDriftHook(num_images=0)
    hook = PseudoLabelDriftHook(ann_file='gone.json')
    with pytest.raises(FileNotFoundError, match=r'drift_log\.ann_file.*gone'):
        hook.before_train(make_runner())
