# SPDX-License-Identifier: Apache-2.0
"""Networks of the configs with random weights, and their training step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from torch import nn

from s4m.apis.config import get_config
from s4m.apis.precision import set_precision
from s4m.engine.hooks import BurnInMeanTeacherHook
from s4m.engine.hooks.burn_in_mean_teacher_hook import _paired_tensors
from s4m.models.promptable import SegmenterOwner

from .batches import ForcedPredictions
from .measuring import Phases

#: SAM 2 of the check in its real size, and in nano.
SEGMENTERS = ('sam2.1_hiera_large', 'nano_sam2')


def without_files(node: Any) -> None:
    """Remove every weight file from a config, changed in place."""
    if isinstance(node, dict):
        init = node.get('init_cfg')
        if isinstance(init, dict) and init.get('type') == 'Pretrained':
            node['init_cfg'] = None
        if node.get('type') == 'SAM2Segmenter':
            node['checkpoint'] = None
            node.pop('sha256', None)
        if 'teacher_checkpoint' in node:
            node['teacher_checkpoint'] = None
        for value in node.values():
            without_files(value)
    elif isinstance(node, list | tuple):
        for value in node:
            without_files(value)


def read_config(name: str, nano: bool = False) -> Config:
    """Read a config with random weights, SAM 2.1-L or the nano SAM 2.

    Args:
        name (str): Name of the config.
        nano (bool): Whether the segmenter is the nano one, with its weights.
            Defaults to False.
    """
    cfg = get_config(name)
    cfg.load_from = None
    cfg.model.pop('init_cfg', None)
    without_files(cfg._cfg_dict)
    owner = cfg.model.get('refiner') or cfg.model
    if 'segmenter' in owner:
        owner['segmenter'] = dict(
            type='SAM2Segmenter',
            config=SEGMENTERS[nano],
            checkpoint='nano_sam2' if nano else None,
        )
    return cfg


def build(cfg: Config, device: torch.device, seed: int = 0) -> nn.Module:
    """Build the model of a config, initialised, on a device, to train."""
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    if device.type == 'cpu':
        model = revert_sync_batchnorm(model)
    model = model.to(device).train()
    if hasattr(model, 'unsup_weight'):
        model.unsup_weight = 2.0
    return model


def num_classes(cfg: Config) -> int:
    """Return the number of classes of a Mask2Former's config."""
    detector = cfg.model.get('detector', cfg.model)
    return detector.panoptic_head.num_things_classes


class MeanTeacher:
    """The hook's update of the teacher without a runner."""

    def __init__(self, model: Any) -> None:
        self.hook = BurnInMeanTeacherHook(burn_in=0)
        self.hook._tensors = _paired_tensors(model.teacher, model.student)

    def update(self) -> None:
        """Move the teacher."""
        self.hook.update(self.hook.momentum)


class TrainingStep:
    """A training step as the runner makes it, without a loader.

    Args:
        cfg (Config): Config of the training.
        model (nn.Module): Its model on the device.
        device (torch.device): The device.
        num_pseudo (int): Number of pseudo-labels of an image. Defaults to
            20.

    Attributes:
        batch (dict): Batch of the loader, to be set before the first step.
        images (int): Number of images of a step.
        logs (dict): Values that the last step logged.
    """

    def __init__(
        self,
        cfg: Config,
        model: Any,
        device: torch.device,
        num_pseudo: int = 20,
    ) -> None:
        self.cfg, self.model, self.device = cfg, model, device
        self.phases = Phases(device)
        self.batch: dict[str, Any] = {}
        self.logs: dict[str, Any] = {}
        self.precision = 'off'
        self.teacher: Any = None
        self.train_step = model.train_step
        wrap = self.phases.wrap
        if hasattr(model, 'student'):
            ForcedPredictions(model.pseudo_labeler, num_pseudo)
            self.teacher = MeanTeacher(model)
            wrap(self.teacher, 'update', 'EMA')
            wrap(model, 'get_pseudo_instances', 'teacher and labelling')
            wrap(model, 'loss_by_gt_instances', 'student, labelled')
            wrap(model, 'loss_by_pseudo_instances', 'student, unlabelled')
            names = dict(
                refiner='refinement without SAM',
                copy_paste='copy-paste',
                strong_augment='strong augmentation',
            )
            for name, phase in names.items():
                if getattr(model, name) is not None:
                    wrap(getattr(model, name), 'forward', phase)
        else:
            wrap(model, 'loss', 'forward')
        owner = getattr(model, 'refiner', None) or model
        if isinstance(owner, SegmenterOwner):
            segmenter = owner.segmenter_on(device)
            wrap(segmenter, 'encode', 'SAM encoder')
            wrap(segmenter, 'decode', 'SAM decoder')
            wrap(segmenter, 'similarity', 'SAM decoder')
        head = getattr(self.network, 'panoptic_head', None)
        if head is not None:
            wrap(head, 'loss_by_feat', 'matching and losses')
        wrap(model.data_preprocessor, 'forward', 'data preprocessor')
        wrap(model, 'parse_losses', 'parse_losses')

    @property
    def network(self) -> Any:
        """The detector that trains."""
        return getattr(self.model, 'student', self.model)

    @property
    def images(self) -> int:
        """Number of images of a step; views of one image count once."""
        inputs = self.batch['inputs']
        if not isinstance(inputs, dict):
            return len(inputs)
        return sum(len(v) for k, v in inputs.items() if k != 'unsup_teacher')

    def use(self, precision: str) -> None:
        """Train in ``bf16``, ``fp16`` or ``off``, fp32 with TF32.

        On a CPU each is fp32.
        """
        self.precision = precision if self.device.type == 'cuda' else 'off'
        wrapper = self.cfg.optim_wrapper
        set_precision(self.cfg, self.precision)
        self.wrapper = build_optim_wrapper(self.model, wrapper.to_dict())
        self.wrapper.initialize_count_status(self.model, 0, 1000)
        self.phases.wrap(self.wrapper, 'backward', 'backward')
        self.phases.wrap(self.wrapper, 'step', 'clip and optimiser')
        torch.backends.cuda.matmul.allow_tf32 = self.precision == 'off'
        torch.backends.cudnn.allow_tf32 = True

    def __call__(self) -> None:
        """Train one iteration."""
        if self.teacher is not None:
            self.teacher.update()
        self.logs = self.train_step(self.batch, self.wrapper)

    def values(self) -> dict[str, float]:
        """Return the loss and the numbers of pseudo-labels."""
        return {
            key: float(self.logs[key])
            for key in ('loss', 'num_pseudo', 'num_pasted')
            if key in self.logs
        }


@contextlib.contextmanager
def checkpointing(model: nn.Module, enabled: bool = True) -> Iterator[int]:
    """Let the networks of a model recompute their activations.

    Yields:
        int: The number of modules that do.
    """
    names = ('with_cp', 'grad_checkpointing')
    parts = [(m, n) for m in model.modules() for n in names if hasattr(m, n)]
    before = [getattr(module, name) for module, name in parts]
    for module, name in parts:
        setattr(module, name, enabled)
    try:
        yield len(parts) * enabled
    finally:
        for (module, name), value in zip(parts, before, strict=True):
            setattr(module, name, value)
