# SPDX-License-Identifier: Apache-2.0
"""SSKD's stages train, stop and go on."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from short_trainings import train, train_and_resume


@pytest.fixture
def sskd(shapes_config, shapes_root):
    """A stage; the truth of all images stands for pseudo-labels."""

    def make(stage: str) -> Config:
        cfg = shapes_config(f'sskd_{stage}_shapes_5p')
        if 'pseudo_labels' in cfg:
            folder = shapes_root / 'annotations'
            file = folder / 'instancesonly_filtered_gtFine_train.json'
            cfg.train_dataloader.dataset.unlabeled.ann_file = str(file)
            cfg.train_dataloader.batch_size = 4
            cfg.train_dataloader.sampler.update(num_labeled=2, num_unlabeled=2)
        cfg.train_cfg.val_begin = 1000
        if 'contrast_log' in cfg.default_hooks:
            cfg.default_hooks.contrast_log.interval = 1
        return cfg

    return make


@pytest.mark.parametrize(
    'stage', ['teacher_supervised', 'teacher_selftrain', 'distill']
)
def test_sskd__stages(sskd, stage):
    cfg = sskd(stage)
    if stage == 'teacher_selftrain':
        # An untrained detector has no box with a score of 0.05.
        cfg.model.test_cfg.score_thr = 0.0
        cfg.model.detector.test_cfg.score_thr = 0.0
    scalars = train_and_resume(cfg).message_hub.log_scalars
    if 'loss_contrast' in cfg.model:
        assert scalars['train/loss_contrast'].current() > 0
        assert -1 <= scalars['train/contrast/margin'].current() <= 2
        for name in ('fnr_pred', 'fnr_gt'):
            assert 0 <= scalars[f'train/contrast/{name}'].current() <= 1


@pytest.mark.parametrize('joint', [False, True])
def test_sskd__resume_is_exact(sskd, joint):
    """With a temperature that changes; of fixed shares, and of one set, where
    some batches of two have no labelled image."""
    losses, branches = [], []
    for resumed in (False, True):
        cfg = sskd('distill')
        cfg.work_dir += f'_{resumed}'
        cfg.model.loss_contrast.update(
            temperature=(0.3, 0.07), schedule_iters=4
        )
        if joint:
            cfg.model.joint = True
            cfg.train_dataloader.sampler = dict(type='SemiSampler')
            cfg.train_dataloader.batch_size = 2
        if resumed:
            train(cfg, 2)
        runner = train(cfg, 3, resume=resumed)
        contrast = runner.model.loss_contrast
        assert contrast.iteration == 3
        losses.append(runner.message_hub.get_scalar('train/loss').data[0][-1])
        names = runner.message_hub.log_scalars
        branches.append('train/sup_loss_cls' in names)
    assert losses[0] == losses[1]
    assert branches == [not joint] * 2


def test_sskd__refinement_starts_from_the_student(sskd):
    """Its projection head is left behind; nothing else is."""
    cfg = sskd('distill')
    train(cfg, 1)
    refine = sskd('refine')
    refine.load_from = f'{cfg.work_dir}/iter_1.pth'
    refine.optim_wrapper.optimizer.lr = 0.0
    model = train(refine, 1).model
    state = torch.load(refine.load_from, weights_only=False)['state_dict']
    own = model.state_dict()
    extra = {k for k in state if k not in own}
    assert extra and all(k.startswith('loss_contrast.') for k in extra)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, state[name]), name
