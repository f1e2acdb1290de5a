# SPDX-License-Identifier: Apache-2.0
"""Trainings of a few iterations of each method, on a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conftest import CLASSES
from mmengine.config import Config
from mmengine.runner import Runner
from nano import grounding_dino
from s4m.apis.gpu_check import nano_trainings
from s4m.apis.training import train

#: Config of Shapes by method.
METHODS = nano_trainings.METHODS | dict(
    sskd_grounding_dino='sskd_teacher_selftrain_shapes_5p'
)


def method_config(
    method: str,
    make: Callable[..., Config],
    shapes_root: Path,
    bert: Callable[[], str],
) -> Config:
    """Return the config of a method, from random weights.

    Args:
        method (str): Key of ``METHODS``.
        make (Callable): ``shapes_config`` or ``shared_config``.
        shapes_root (Path): The data; the truth stands for pseudo-labels.
        bert (Callable): Returns the folder of a text encoder.
    """
    cfg = make(METHODS[method], iters=2)
    cfg.train_cfg.val_begin = 1000
    cfg.train_dataloader.update(
        batch_size=2, num_workers=0, persistent_workers=False
    )
    cfg.load_from = None
    model, sampler = cfg.model, cfg.train_dataloader.sampler
    if sampler.type == 'SemiSampler':
        cfg.train_dataloader.batch_size = 4
        if 'num_labeled' in sampler:
            sampler.update(num_labeled=2, num_unlabeled=2)
    if 'pseudo_labels' in cfg:
        folder = shapes_root / 'annotations'
        file = folder / 'instancesonly_filtered_gtFine_train.json'
        cfg.train_dataloader.dataset.unlabeled.ann_file = str(file)
        cfg.pop('pseudo_labels')
    if 'mean_teacher' in cfg.default_hooks:
        model.teacher_checkpoint = None
        # Labels of both kinds from the first iteration on.
        cfg.default_hooks.mean_teacher.burn_in = 0
        model.pseudo_labeler.cls_thr = 0.12
    if method == 'sskd_grounding_dino':
        # Large for a nano model: one image of each kind.
        cfg.train_dataloader.batch_size = 2
        sampler.update(num_labeled=1, num_unlabeled=1)
        model.detector = grounding_dino(bert())
        model.classes = CLASSES
    return cfg


def train_method(cfg: Config, **options) -> Runner:
    """Train a config as ``tools/train.py`` does."""
    file = Path(cfg.work_dir).with_suffix('.py')
    file.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(str(file))
    return train(file, work_dir=cfg.work_dir, **options)
