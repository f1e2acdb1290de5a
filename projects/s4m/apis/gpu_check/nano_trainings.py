# SPDX-License-Identifier: Apache-2.0
"""Small trainings on a generated data set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import mmengine
from mmengine.config import Config

from s4m.apis.config import get_config
from s4m.datasets.coco_io import read_coco, write_coco
from s4m.datasets.converters.cityscapes import annotation_file, convert
from s4m.datasets.converters.coco_splits import Splitter, draw
from s4m.datasets.shapes import make_shapes

#: Config of Shapes by method.
METHODS = dict(
    supervised='supervised_shapes_5p',
    guided_distillation='guided_distillation_shapes_5p',
    s4m='s4m_shapes_5p',
    s4m_teacher='s4m_teacher_shapes_5p',
    sskd_distill='sskd_distill_shapes_5p',
    sskd_refine='sskd_refine_shapes_5p',
    sskd_adapt='sskd_teacher_adapt_shapes_5p',
    sskd_selftrain='sskd_teacher_selftrain_shapes_5p',
)


@contextlib.contextmanager
def quick_configs() -> Iterator[None]:
    """Write configs unformatted, and read MMDetection's metafiles once."""
    with (
        mock.patch(
            'yapf.yapflib.yapf_api.FormatCode',
            lambda text, **_: (text, False),
        ),
        mock.patch('mmengine.config.utils.load', cache(mmengine.load)),
    ):
        yield


def make_data(root: Path) -> Path:
    """Generate Shapes with 12 + 4 images of 64 x 128, 4 of them labelled."""
    make_shapes(root, train=12, val=4, size=(64, 128), workers=1)
    convert(root, workers=1)
    data = read_coco(annotation_file(root, 'train'))
    splitter = Splitter(data)
    chosen = draw([i['id'] for i in data['images']], 35, 0)
    semi = root / 'annotations/semi'
    write_coco(semi / 'seed0@5.json', **splitter.labeled(chosen))
    write_coco(semi / 'seed0@5-unlabeled.json', **splitter.unlabeled())
    return root


def _adapt(node: Any, root: str) -> None:
    """Use the data at ``root``, and views of half the size."""
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str) and value.startswith('data/shapes/'):
                node[key] = value.replace('data/shapes/', root + '/')
            elif key == 'scales':
                node[key] = [tuple(v // 2 for v in size) for size in value]
            elif key == 'crop_size':
                node[key] = tuple(v // 2 for v in value)
            else:
                _adapt(value, root)
    elif isinstance(node, list | tuple):
        for value in node:
            _adapt(value, root)


def shapes_config(
    method: str, root: Path, work_dir: Path, iters: int = 2
) -> Config:
    """Return the config of a method from random weights.

    Args:
        method (str): Key of ``METHODS``.
        root (Path): Folder of :func:`make_data`; its truth stands for
            pseudo-labels.
        work_dir (Path): Folder of logs and checkpoints.
        iters (int): Number of iterations. Defaults to 2.
    """
    cfg = get_config(METHODS[method])
    _adapt(cfg._cfg_dict, str(root))
    cfg.work_dir = str(work_dir)
    cfg.load_from = None
    cfg.log_level = 'WARNING'
    cfg.randomness = dict(seed=0)
    cfg.train_cfg.update(max_iters=iters, val_interval=1000, val_begin=1000)
    cfg.default_hooks.checkpoint.update(interval=iters)
    cfg.default_hooks.logger.interval = 1
    loader, model = cfg.train_dataloader, cfg.model
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    if loader.sampler.type == 'SemiSampler':
        loader.batch_size = 4
        if 'num_labeled' in loader.sampler:
            loader.sampler.update(num_labeled=2, num_unlabeled=2)
    if 'pseudo_labels' in cfg:
        truth = root / 'annotations/instancesonly_filtered_gtFine_train.json'
        loader.dataset.unlabeled.ann_file = str(truth)
        cfg.pop('pseudo_labels')
    if 'mean_teacher' in cfg.default_hooks:
        model.teacher_checkpoint = None
        # Labels of both kinds from the first iteration on.
        cfg.default_hooks.mean_teacher.burn_in = 0
        model.pseudo_labeler.cls_thr = 0.12
    return cfg
