# SPDX-License-Identifier: Apache-2.0
"""Load a model with its weights, and predict several views of images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader

import s4m
from s4m.models.pseudo_labels.prediction_selector import merge_views
from s4m.utils.checkpoint_meta import plain_meta
from s4m.utils.checkpoints import load_strictly, read_checkpoint


def load_model(
    cfg: Config,
    checkpoint: str | Path | None,
    device: str | None = None,
    network: str | None = None,
) -> tuple[BaseDetector, list[str]]:
    """Build the model of a config with its weights, in eval mode.

    The config's scope becomes the default one.

    Args:
        cfg (Config): Config with a ``test_dataloader``.
        checkpoint (str | Path, optional): File of the weights. Entries that
            the model does not have are ignored. None takes the weights that
            the config's ``init_cfg`` entries name.
        device (str, optional): Device of the model, ``cuda:0``, ``cpu`` ...
            Defaults to None, a GPU if there is one.
        network (str, optional): Network that a semi-supervised model
            predicts with, ``student`` or ``teacher``. A model of one network
            ignores it. Defaults to None, the config's.

    Returns:
        tuple[BaseDetector, list[str]]: the model, and its classes.

    Raises:
        FileNotFoundError: if the checkpoint does not exist.
        ValueError: if the checkpoint lacks weights of the model.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(cfg.model)
    if network is not None and hasattr(model, 'semi_test_cfg'):
        model.semi_test_cfg['predict_on'] = network
    meta: dict[str, Any] = {}
    if checkpoint is None:
        model.init_weights()
    else:
        file = read_checkpoint(checkpoint)
        meta = plain_meta(file).get('dataset_meta') or {}
        load_strictly(
            model,
            file.get('state_dict', file),
            checkpoint,
            hint='Was it trained with this config?',
            ignore_unexpected=True,
        )
    classes = meta.get('classes')
    if classes is None:
        classes = config_classes(cfg)
    return model.to(device or get_device()).eval(), list(classes)


def config_classes(cfg: Config) -> Sequence[str]:
    """Return the classes of the test set of a config."""
    dataset = cfg.test_dataloader.dataset
    classes = dataset.get('metainfo', {}).get('classes')
    return classes or DATASETS.get(dataset.type).METAINFO['classes']


@torch.no_grad()
def predict(
    model: BaseDetector,
    loader: DataLoader,
    mirrored: Sequence[bool],
    select: Callable[[InstanceData, Any], InstanceData],
) -> Iterator[list[tuple[int, InstanceData]]]:
    """Yield pairs (image id, pseudo-labels) for the images of each batch.

    Args:
        model (BaseDetector): A detector in eval mode.
        loader (DataLoader): Loader of an :class:`ImageViews`.
        mirrored (Sequence[bool]): Whether each view is mirrored.
        select (Callable): Function of an image's predictions and sample that
            returns the pseudo-labels, such as a ``PredictionSelector``.
    """
    for batch in _batches(loader):
        views = [
            model.test_step(pseudo_collate(list(view)))
            for view in zip(*batch, strict=True)
        ]
        rows = []
        for samples in zip(*views, strict=True):
            pred = merge_views(
                [_bool_masks(s.pred_instances) for s in samples], mirrored
            )
            rows.append((samples[0].img_id, select(pred, samples[0])))
        yield rows


def _batches(loader: DataLoader) -> Iterator[Any]:
    """Yield the batches of a loader; its workers' errors are short.

    PyTorch puts the traceback of the worker into the message. An ``OSError``
    and an error that this package raises keep their last line alone.
    """
    try:
        yield from loader
    except (OSError, ValueError) as e:
        files = re.findall(r'File "(.+?)", line', str(e))
        if not files or (
            isinstance(e, ValueError)
            and Path(s4m.__file__).parent not in Path(files[-1]).parents
        ):
            raise
        last = str(e).strip().splitlines()[-1]
        raise type(e)(last.removeprefix(f'{type(e).__name__}: ')) from e


def _bool_masks(pred: InstanceData) -> InstanceData:
    """Put the masks as bool on the device of the scores.

    Some detectors of MMDetection return masks as arrays on the host.
    """
    masks = torch.as_tensor(pred.masks, device=pred.scores.device)
    pred.masks = masks.bool()
    return pred
