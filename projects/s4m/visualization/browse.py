# SPDX-License-Identifier: Apache-2.0
"""Draw the images and labels of semi-supervised training batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from rich.progress import track
from torch import Tensor

from s4m.structures.masks import masks_at_image_size, pad_masks
from s4m.utils.checkpoints import load_teacher

from .painting import grid, panel, save_picture

Rows = list[list[np.ndarray]]


def browse(
    cfg: Config,
    out: str | Path,
    *,
    batches: int = 2,
    seed: int = 0,
    teacher: str | Path | None = None,
) -> None:
    """Draw the images of some training batches.

    Args:
        cfg (Config): Config of a semi-supervised training.
        out (str | Path): Folder for the pictures ``{batch}_{image}.png``.
        batches (int): Number of batches. Defaults to 2.
        seed (int): Seed of sampler and augmentation. Defaults to 0.
        teacher (str | Path, optional): Checkpoint or work directory of a
            teacher, whose pseudo-labels are drawn. Defaults to None.

    Raises:
        FileNotFoundError: if the teacher's checkpoint does not exist.
        ValueError: if the config has no ``SemiDataPreprocessor``, or a
            teacher is given although pseudo-labels come from a file.

    Example::

        from s4m.apis.config import get_config
        browse(get_config('s4m_cityscapes_10p'), 'work_dirs/browse')
    """
    init_default_scope('mmdet')
    preprocessor = cfg.model.get('data_preprocessor') or {}
    if preprocessor.get('type') != 'SemiDataPreprocessor':
        raise ValueError(
            f'{cfg.filename} trains on labelled images alone; '
            "MMDetection's tools/analysis_tools/browse_dataset.py shows those."
        )
    model = MODELS.build(cfg.model).eval()
    if teacher is not None:
        if not hasattr(model, 'teacher'):
            raise ValueError(
                f'--teacher: {cfg.filename} has no teacher in its model; its '
                'pseudo-labels come from a file and are shown anyway.'
            )
        load_teacher(model.teacher, teacher)
    torch.manual_seed(seed)
    loader = iter(Runner.build_dataloader(cfg.train_dataloader, seed=seed))
    for number in track(range(batches), 'batches'):
        rows = draw_batch(model, next(loader), teacher is not None)
        for k, row in enumerate(rows):
            picture = grid([row])
            assert picture is not None
            save_picture(Path(out) / f'{number:03d}_{k:02d}.png', picture)
    print(f'{out}: {batches} batches')


@torch.no_grad()
def draw_batch(
    model: BaseDetector, data: dict[str, Any], labels: bool
) -> Rows:
    """Draw one batch with a row for each image, labelled images first.

    A labelled image is drawn without and with its annotations, an unlabelled
    image as the teacher's view, the student's view and the strong view. With
    ``labels``, the row shows the teacher's pseudo-labels before and after
    refinement, and on the student's image after copy-paste. If pseudo-labels
    come from a file, each image has the weak view, its annotations and the
    strong view.

    Args:
        model (BaseDetector): ``SemiInstanceSegmentor``, or a detector that
            trains on pseudo-labels from a file.
        data (dict): A batch of the training loader.
        labels (bool): Whether the teacher's pseudo-labels are drawn.

    Returns:
        list[list[ndarray]]: panels (H, W, 3) uint8 RGB of each row.
    """
    data = model.data_preprocessor(data, True)
    inputs, samples = data['inputs'], data['data_samples']
    if not isinstance(inputs, dict):
        return _annotated(inputs, samples, 'labelled')
    if not hasattr(model, 'pseudo_label'):
        return _rows_of_file(model, inputs, samples)
    rows = _annotated(inputs['sup'], samples['sup'], 'labelled')
    if labels:
        panels = _label_panels(model, inputs, samples)
    else:
        images = inputs['unsup_student']
        panels = [
            ('teacher view', inputs['unsup_teacher'], None),
            ('student view', images, None),
        ]
        if model.strong_augment is not None:
            sizes = [s.img_shape[:2] for s in samples['unsup_student']]
            strong = model.strong_augment(images, sizes)
            panels.append(('strong', strong, None))
    for i in range(len(inputs['unsup_student'])):
        rows.append(
            [
                panel(images[i], None if masks is None else masks[i], title)
                for title, images, masks in panels
            ]
        )
    return rows


def _label_panels(
    model: BaseDetector,
    inputs: dict[str, Tensor],
    samples: dict[str, SampleList],
) -> list[tuple[str, Tensor, list[Tensor] | None]]:
    """Collect title, images and masks of each step of the pseudo-labels."""
    steps = model.pseudo_label(inputs, samples)
    height, width = inputs['unsup_student'].shape[-2:]
    panels: list[tuple[str, Tensor, list[Tensor] | None]] = [
        ('teacher view', steps.teacher_images, None)
    ]
    for title, images, instances in (
        ('pseudo-labels', steps.teacher_images, steps.teacher),
        ('refined', steps.teacher_images, steps.refined),
        ('copy-paste', steps.pasted_images, steps.pasted),
    ):
        if instances is not None:
            size = height, width
            masks = [masks_at_image_size(item, size) for item in instances]
            panels.append((title, images, masks))
    if model.strong_augment is not None:
        panels.append(('strong', steps.strong_images, None))
    return panels


def _annotated(images: Tensor, samples: SampleList, title: str) -> Rows:
    """Draw two panels for each image, without and with annotations."""
    second = 'pseudo-labels' if title == 'unlabelled' else 'ground truth'
    height, width = images.shape[-2:]
    rows = []
    for rgb, sample in zip(images, samples, strict=True):
        masks = sample.gt_instances.masks
        masks = pad_masks(masks, (height, width), rgb.device)
        rows.append([panel(rgb, None, title), panel(rgb, masks, second)])
    return rows


def _rows_of_file(
    model: BaseDetector,
    inputs: dict[str, Tensor],
    samples: dict[str, SampleList],
) -> Rows:
    """Draw a batch whose pseudo-labels come from a file."""
    rows, views, sizes = [], [], []
    for branch, title in (('sup', 'labelled'), ('unsup', 'unlabelled')):
        if branch in inputs:
            rows += _annotated(inputs[branch], samples[branch], title)
            views.append(inputs[branch])
            sizes += [s.img_shape[:2] for s in samples[branch]]
    if model.strong_augment is not None:
        # Training augments all images in one call, too.
        strong = model.strong_augment(torch.cat(views), sizes)
        for row, rgb in zip(rows, strong, strict=True):
            row.append(panel(rgb, None, 'strong'))
    return rows
