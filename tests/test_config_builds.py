# SPDX-License-Identifier: Apache-2.0
"""Every config builds its model, pipelines, hooks and optimiser."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from leaf_configs import CONFIGS, load, pipelines
from mmdet.registry import HOOKS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn


def _without_downloads(node) -> None:
    if isinstance(node, dict):
        if 'init_cfg' in node:
            node['init_cfg'] = None
        for value in node.values():
            _without_downloads(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _without_downloads(value)


@pytest.fixture
def no_random_weights(monkeypatch):
    """Large models are built in a moment when nobody fills them."""
    for name in ('uniform_', 'normal_', 'erfinv_', 'zero_', 'fill_'):
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *args, **kwargs: self
        )
    for name in ('uniform_', 'normal_', 'zeros_', 'ones_', 'constant_'):
        monkeypatch.setattr(
            nn.init, name, lambda tensor, *args, **kwargs: tensor
        )
    for name in ('kaiming_uniform_', 'kaiming_normal_', 'xavier_uniform_'):
        monkeypatch.setattr(
            nn.init, name, lambda tensor, *args, **kwargs: tensor
        )


#: Models and optimisers that a test has built already.
_BUILT: set[str] = set()


def _prepare(cfg: Config, bert: str) -> None:
    """Without files that have to be downloaded."""
    _without_downloads(cfg._cfg_dict)
    detector = cfg.model.get('detector', {})
    if 'language_model' in detector:
        detector.language_model.name = bert
    segmenter = cfg.model.get('segmenter')
    if segmenter is not None and not segmenter.get('frozen', True):
        # Small, but the same modules train.
        segmenter.update(config='sam2.1_hiera_tiny', checkpoint=None)


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_config__builds(path: Path, no_random_weights, bert):
    cfg = load(path)
    for before in _starts_from(cfg):
        assert before in {f'work_dirs/{p.stem}' for p in CONFIGS}
    _prepare(cfg, bert)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        found = list(pipelines(cfg[name]))
        assert found
        for pipeline in found:
            for step in pipeline:
                TRANSFORMS.build(step)
    for name, hook in cfg.default_hooks.items():
        # MMDet's visualisation hook takes the visualiser of a runner.
        if hook is not None and name != 'visualization':
            HOOKS.build(hook)
    schedulers = cfg.param_scheduler
    if not isinstance(schedulers, list):
        schedulers = [schedulers]
    # A warm-up ends where the decay begins, which ends with the training.
    ends = [0, *(s.end for s in schedulers)]
    assert [s.begin for s in schedulers] == ends[:-1]
    assert ends[-1] == cfg.train_cfg.max_iters
    # Rows of a table differ in their data: each model is built once.
    model_cfg = dict(cfg.model, teacher_checkpoint=None)
    key = repr((model_cfg, cfg.optim_wrapper, cfg.param_scheduler))
    if key in _BUILT:
        return
    _BUILT.add(key)
    model = MODELS.build(cfg.model)
    optim = build_optim_wrapper(model, cfg.optim_wrapper)
    if 'constructor' in cfg.optim_wrapper:
        _check_groups(model, optim.optimizer, cfg)
    for scheduler in schedulers:
        PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=optim))


def _starts_from(cfg: Config) -> list[str]:
    """Work directories that a config reads from."""
    found = [cfg.model.get('teacher_checkpoint')]
    if cfg.get('load_from'):
        found.append(str(Path(cfg.load_from).parent))
    if 'pseudo_labels' in cfg:
        teacher = cfg.pseudo_labels.teacher
        found.append(teacher)
        pseudo = cfg.train_dataloader.dataset.unlabeled
        assert pseudo.ann_file == f'{teacher}/pseudo_labels.json'
        assert pseudo.data_prefix.img == cfg.pseudo_labels.image_root
        images = cfg.pseudo_labels.images
        assert images.startswith('data/') and 'unlabeled' in images
    return [f for f in found if f is not None and 'download' not in f]


def _check_groups(model, optimizer, cfg) -> None:
    """Rates and decays of the built groups, by the name of the parameter."""
    found = {
        id(p): (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for p in group['params']
    }
    net = getattr(model, 'student', model)
    base = cfg.optim_wrapper.optimizer
    keys = cfg.optim_wrapper.paramwise_cfg.custom_keys
    norms = {
        id(p)
        for m in net.modules()
        if isinstance(
            m, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm
        )
        for p in m.parameters(recurse=False)
    }
    trained = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    assert len(found) == len(trained)
    for name, param in trained:
        lr, decay = found[id(param)]
        own = name.removeprefix('detector.')
        mult = 1
        if own.startswith('backbone.'):  # a ViT's projections too
            mult = keys.backbone.lr_mult
        elif own.startswith('segmenter.'):
            mult = keys.segmenter.lr_mult
        assert lr == pytest.approx(base.lr * mult), name
        embedding = any(
            k in name
            for k in (
                'query_embed',
                'query_feat',
                'level_embed',
                'relative_position_bias_table',
                'absolute_pos_embed',
            )
        )
        free = id(param) in norms or embedding
        assert decay == (0 if free else base.weight_decay), name
    assert len(optimizer.param_groups) <= 6


@pytest.mark.parametrize('name', ['dinov2_vit_b', 'frozen_dinov2_vit_b'])
def test_backbones__groups_of_a_vit(name, no_random_weights):
    """As released: a tenth of the rate for the projections, decay for all
    but norms; of a frozen transformer the projections train all the same."""
    path = f'supervised/supervised_{name}_coco_2p'
    cfg = load(path)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    settings = {
        id(p): (pytest.approx(group['lr']), group['weight_decay'])
        for group in optimizer.param_groups
        for p in group['params']
    }
    backbone = model.backbone
    for conv in backbone.convs:
        assert settings[id(conv.weight)] == (1e-5, 0.05)
        assert settings[id(conv.bias)] == (1e-5, 0.05)
    for parameter in (backbone.vit.pos_embed, backbone.vit.cls_token):
        if 'frozen' in name:
            assert id(parameter) not in settings
        else:
            assert settings[id(parameter)] == (1e-5, 0.05)
