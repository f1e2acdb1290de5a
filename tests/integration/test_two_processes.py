# SPDX-License-Identifier: Apache-2.0
"""A training of two processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from semi_trainings import equal, semi_config


def test_two_processes__equal_weights_on_both_ranks(
    shapes_config, teacher_file, tmp_path
):
    """tools/dist_train.sh with two gloo processes, without a GPU."""
    cfg = semi_config(shapes_config, 's4m_shapes_5p', iters=3)
    cfg.model.teacher_checkpoint = teacher_file
    cfg.default_hooks.thresholds = dict(
        type='PrecisionThresholdHook',
        interval=1,
        min_thr=0.05,
        max_thr=0.2,
        min_count=1,
    )
    cfg.custom_imports.imports.append('rank_spy')
    cfg.custom_hooks = [dict(type='RankSpy', folder=str(tmp_path))]
    path = tmp_path / 'dist.py'
    cfg.dump(str(path))
    (tmp_path / 'rank_spy.py').write_text(
        'import random\n'
        'import numpy as np\n'
        'import torch\n'
        'from mmdet.registry import HOOKS\n'
        'from mmengine.hooks import Hook\n'
        'from mmengine.dist import get_rank\n'
        # Takes longer than the training.
        'import yapf.yapflib.yapf_api as api\n'
        'api.FormatCode = lambda text, **_: (text, False)\n'
        '@HOOKS.register_module()\n'
        'class RankSpy(Hook):\n'
        '    def __init__(self, folder):\n'
        '        self.folder = folder\n'
        '    def save(self, what, name):\n'
        '        torch.save(what, f"{self.folder}/{name}{get_rank()}.pt")\n'
        '    def before_train_iter(self, runner, batch_idx, data_batch):\n'
        '        if batch_idx:\n'
        '            return\n'
        # What the first iteration would draw, from equal input.
        '        model, state = runner.model.module, torch.get_rng_state()\n'
        '        pixels = torch.arange(2 * 3 * 32 * 32) % 256.0\n'
        '        view = model.strong_augment(pixels.view(2, 3, 32, 32))\n'
        '        torch.set_rng_state(state)\n'
        '        weights = model.state_dict()\n'
        '        self.save(dict(\n'
        '            weights={k: v.clone() for k, v in weights.items()},\n'
        '            states=[random.getstate()[1], state.tolist(),\n'
        '                np.random.get_state()[1].tolist()],\n'
        '            view=view,\n'
        '            seed=runner.train_dataloader.sampler.seed), "first")\n'
        '    def after_train(self, runner):\n'
        '        state = dict(runner.model.module.named_parameters())\n'
        '        state = {k: v.detach() for k, v in state.items()}\n'
        '        self.save(state, "rank")\n'
        '        labeler = runner.model.module.pseudo_labeler\n'
        '        self.save(labeler.thresholds, "thresholds")\n'
        '        scalars = runner.message_hub.log_scalars\n'
        '        self.save({k: v.data[0].tolist()\n'
        '            for k, v in scalars.items()}, "log")\n'
    )
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = dict(
        os.environ,
        PORT=str(port),
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='',
        PYTHONPATH=str(tmp_path),
        PATH=f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}',
    )
    subprocess.run(
        ['bash', str(ROOT / 'tools/dist_train.sh'), str(path), '2'],
        check=True,
        env=env,
        cwd=tmp_path,
        timeout=300,
    )
    one, two = (torch.load(tmp_path / f'rank{r}.pt') for r in (0, 1))
    assert equal(one, two)
    # Numbers of pseudo-labels are means over both, ground truth included.
    logs = [torch.load(tmp_path / f'log{r}.pt') for r in (0, 1)]
    counts = zip(*(log['train/num_pseudo'] for log in logs), strict=True)
    means = pytest.approx([sum(pair) / 2 for pair in counts])
    assert all(log['train/pseudo_labels/per_image'] == means for log in logs)
    key = 'val/pseudo_labels/without_object'
    assert logs[0][key] == logs[1][key]
    loaded = torch.load(teacher_file)['state_dict']
    key = 'student.panoptic_head.cls_embed.weight'
    assert not torch.equal(one[key], loaded[key.removeprefix('student.')])
    checkpoint = torch.load(f'{cfg.work_dir}/iter_3.pth', weights_only=False)
    assert len(checkpoint['random_states']) == 2
    # The labelled images of both processes set the thresholds.
    assert checkpoint['precision_thresholds'][0].sum() > 0
    one, two = (torch.load(tmp_path / f'thresholds{r}.pt') for r in (0, 1))
    assert len(one) == 8 and torch.equal(one, two)
    # Equal networks and one order of images, but each rank's own draws.
    one, two = (torch.load(tmp_path / f'first{r}.pt') for r in (0, 1))
    assert equal(one['weights'], two['weights'])
    assert one['seed'] == two['seed']
    for a, b in zip(one['states'], two['states'], strict=True):
        assert a != b
    assert not torch.equal(one['view'], two['view'])
