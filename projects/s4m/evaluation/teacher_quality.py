# SPDX-License-Identifier: Apache-2.0
"""Measure the quality of the pseudo-labels that a teacher makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS, MODELS
from mmdet.utils import InstanceList
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from rich.progress import track
from torch import nn

from s4m.datasets.coco_io import read_coco
from s4m.structures import replace_fields
from s4m.structures.masks import masks_at_image_size, pad_masks
from s4m.utils.checkpoints import load_teacher
from s4m.visualization import grid, panel

from .pseudo_label_quality import TRUE, MaskComparison

#: Labels and masks of each mask AP. Replacing one of them by the ground truth
#: shows whether classes or masks limit the pseudo-labels.
_VARIANTS = {
    'teacher_classes_teacher_masks': ('given', 'teacher_mask'),
    'teacher_classes_refined_masks': ('given', 'refined_mask'),
    'teacher_classes_true_masks': ('given', TRUE),
    'true_classes_refined_masks': (TRUE, 'refined_mask'),
}


@torch.no_grad()
def quality_of_teacher(
    cfg: Config,
    ann_file: str | Path,
    *,
    num_pictures: int = 0,
    seed: int = 0,
    limit: int | None = None,
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Compare a teacher's pseudo-labels with the ground truth.

    The weights are ``cfg.model.teacher_checkpoint``. The pseudo-labels of the
    unlabelled images at test size are compared before and after refinement,
    as in S4M's motivating figure. Labelled images are ignored, and so are
    pseudo-labels that the refiner removes.

    Args:
        cfg (Config): Config of a ``SemiInstanceSegmentor``.
        ann_file (str | Path): COCO file with the ground truth of the
            unlabelled images.
        num_pictures (int): Number of images to draw. Defaults to 0.
        seed (int): Seed of the refiner's points. Defaults to 0.
        limit (int, optional): Number of images at the beginning of the file
            that are considered. Defaults to None, all images.

    Returns:
        tuple[dict, ndarray | None]: figures of
        :meth:`MaskComparison.figures` with IoUs and mask AP before and after
        refinement, and an RGB picture, teacher | refined | ground truth.

    Raises:
        FileNotFoundError: if the teacher's checkpoint does not exist.
        ValueError: if the config has no teacher, its checkpoint does not fit,
            or no unlabelled image has an instance.
    """
    init_default_scope('mmdet')
    torch.manual_seed(seed)
    if cfg.model.get('teacher_checkpoint') is None:
        raise ValueError(
            'The config names no teacher: set model.teacher_checkpoint to a '
            'checkpoint or a work directory.'
        )
    model = MODELS.build(cfg.model)
    load_teacher(model.teacher, cfg.model.teacher_checkpoint)
    model = model.to(get_device()).eval()
    model.pseudo_labeler.register_forward_hook(_add_positions)
    labeled = cfg.train_dataloader.dataset.labeled
    dataset = _unlabeled_dataset(cfg, ann_file)
    chosen = unlabeled_indices(
        dataset, Path(labeled.get('data_root') or '', labeled.ann_file)
    )
    comparison = MaskComparison(
        dataset.metainfo['classes'],
        ('teacher_mask', 'refined_mask'),
        _VARIANTS,
    )
    rows: list[list[np.ndarray]] = []
    for n in track(
        [n for n in chosen if limit is None or n < limit], 'pseudo-labels'
    ):
        item = dataset[n]
        # The preprocessor expects the branches of a training batch.
        data = model.data_preprocessor(
            dict(
                inputs=dict(unsup_teacher=[item['inputs']]),
                data_samples=dict(unsup_teacher=[item['data_samples']]),
            ),
            True,
        )
        (rgb,) = data['inputs']['unsup_teacher']
        (sample,) = data['data_samples']['unsup_teacher']
        size = tuple(rgb.shape[-2:])
        steps = model.pseudo_label(data['inputs'], data['data_samples'])
        (teacher,) = steps.teacher
        (refined,) = steps.teacher if steps.refined is None else steps.refined
        if 'position' in refined:
            teacher = teacher[refined.position]
        masks = dict(
            teacher_mask=masks_at_image_size(teacher, size),
            refined_mask=masks_at_image_size(refined, size),
        )
        gt, crowds = (
            InstanceData(
                labels=instances.labels,
                masks=pad_masks(instances.masks, size, rgb.device),
            )
            for instances in (sample.gt_instances, sample.ignored_instances)
        )
        comparison.add(teacher, masks, gt, crowds)
        if len(rows) < num_pictures and len(teacher) > 1:
            h, w = sample.img_shape[:2]
            rows.append(
                [
                    panel(rgb[:, :h, :w], m[:, :h, :w])
                    for m in (*masks.values(), gt.masks)
                ]
            )
    if comparison.num_objects == 0:
        raise ValueError(
            f'{ann_file} has no instance in an unlabelled image: the '
            f'labelled ones, of {labeled.ann_file}, are left out.'
        )
    return comparison.figures(), grid(rows)


def _add_positions(
    labeler: nn.Module, args: tuple, labels: InstanceList
) -> InstanceList:
    """Number the pseudo-labels, so that those that remain are known."""
    return [
        replace_fields(
            item, position=torch.arange(len(item), device=item.labels.device)
        )
        for item in labels
    ]


def _unlabeled_dataset(cfg: Config, ann_file: str | Path) -> CocoDataset:
    """Build a config's images with annotations and its test pipeline."""
    labeled = cfg.train_dataloader.dataset.labeled
    # MMDet's test pipelines load annotations after resizing the image alone.
    steps = cfg.test_dataloader.dataset.pipeline
    loading = [s for s in steps if s['type'].startswith('Load')]
    others = [s for s in steps if not s['type'].startswith('Load')]
    same = {
        key: labeled[key]
        for key in ('type', 'data_root', 'data_prefix', 'metainfo')
        if key in labeled
    }
    return DATASETS.build(
        dict(
            same,
            ann_file=str(Path(ann_file).absolute()),
            filter_cfg=dict(filter_empty_gt=False),
            test_mode=True,
            pipeline=[*loading, *others],
        )
    )


def unlabeled_indices(dataset: CocoDataset, labeled: str | Path) -> list[int]:
    """List the indices of the images that a COCO file does not have.

    Args:
        dataset (CocoDataset): Data set of all images.
        labeled (str | Path): COCO file of the labelled images, which are in
            the same folder.
    """
    images = read_coco(labeled, needs=['images'])['images']
    folder = dataset.data_prefix['img']
    # Whole paths are compared, since one name may end as another: 1.jpg and
    # 11.jpg.
    paths = {
        os.path.normpath(os.path.join(folder, image['file_name']))
        for image in images
    }
    infos = map(dataset.get_data_info, range(len(dataset)))
    return [
        n
        for n, info in enumerate(infos)
        if os.path.normpath(info['img_path']) not in paths
    ]
