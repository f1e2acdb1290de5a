# SPDX-License-Identifier: Apache-2.0
"""Measure the quality of the pseudo-labels that a teacher makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmdet.models.detectors import SemiBaseDetector
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import InstanceList
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from rich.progress import track
from torch import Tensor, nn

from s4m.datasets.coco_io import read_coco
from s4m.structures import PseudoLabelSteps, replace_fields
from s4m.structures.masks import (
    masks_at_image_size,
    pad_masks,
    spatial_size,
)
from s4m.utils.checkpoints import load_teacher
from s4m.utils.random_states import keep_random_state, seed_generators
from s4m.visualization import grid, panel

from .label_matches import LabelMatches, figures_of
from .pseudo_label_quality import TRUE, MaskComparison, best_overlap

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
    model.pseudo_labeler.register_forward_hook(add_positions)
    images = _UnlabeledImages(cfg, ann_file)
    comparison = MaskComparison(
        images.classes, ('teacher_mask', 'refined_mask'), _VARIANTS
    )
    rows: list[list[np.ndarray]] = []
    for n in track(
        [n for n in images.indices if limit is None or n < limit],
        'pseudo-labels',
    ):
        rgb, sample, steps, gt = images.label(model, n)
        size = spatial_size(rgb)
        (teacher,) = steps.teacher
        (refined,) = steps.teacher if steps.refined is None else steps.refined
        if 'position' in refined:
            teacher = teacher[refined.position]
        masks = dict(
            teacher_mask=masks_at_image_size(teacher, size),
            refined_mask=masks_at_image_size(refined, size),
        )
        crowds = _on_padded_image(sample.ignored_instances, rgb)
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
            f'labelled ones, of {images.labeled}, are left out.'
        )
    return comparison.figures(), grid(rows)


def add_positions(
    labeler: nn.Module, args: tuple, labels: InstanceList
) -> InstanceList:
    """Number the pseudo-labels, so that those that remain are known.

    A forward hook of a labeller, which adds the field ``position``.
    """
    return [
        replace_fields(
            item, position=torch.arange(len(item), device=item.labels.device)
        )
        for item in labels
    ]


class TeacherQuality:
    """Compares a teacher that trains with the ground truth, now and then.

    The images, their size (that of a test) and the points of the refiner are
    the same each time. The annotations never reach the training: they belong
    to a data set of this object.

    Args:
        cfg (Config): Config of a ``SemiInstanceSegmentor``.
        ann_file (str | Path): COCO file with the ground truth of the
            unlabelled images. Labelled images in it are left out.
        num_images (int): Greatest number of images, which are spread evenly
            over the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file has no unlabelled image.
    """

    def __init__(
        self, cfg: Config, ann_file: str | Path, num_images: int
    ) -> None:
        self._images = _UnlabeledImages(cfg, ann_file)
        indices = self._images.indices
        if not indices:
            raise ValueError(
                f'{ann_file} has no unlabelled image: the labelled ones, of '
                f'{self._images.labeled}, are left out.'
            )
        self._indices = indices[:: -(-len(indices) // num_images)]

    @torch.no_grad()
    def measure(self, model: SemiBaseDetector) -> dict[str, float]:
        """Label the images and compare them; all processes share the work.

        Args:
            model (SemiBaseDetector): ``SemiInstanceSegmentor`` in eval mode.

        Returns:
            dict[str, float]: :meth:`LabelMatches.figures` of the
            pseudo-labels from which a student would learn, before copy-paste;
            the same in all processes.
        """
        matches = LabelMatches()
        device = next(model.parameters()).device
        with keep_random_state():
            for n in self._indices[get_rank() :: get_world_size()]:
                seed_generators((n,))
                rgb, _, steps, gt = self._images.label(model, n)
                (item,) = steps.instances
                masks = masks_at_image_size(item, spatial_size(rgb))
                matches.add(item, gt.labels, *best_overlap(masks, gt.masks))
        sums = matches.sums.to(device)
        all_reduce(sums)
        return figures_of(sums)


class _UnlabeledImages:
    """Unlabelled images of a config with their annotations.

    Attributes:
        classes (tuple[str]): Names of the classes.
        indices (list[int]): Indices of the images that are not labelled.
        labeled (Path): COCO file of the labelled images.
    """

    def __init__(self, cfg: Config, ann_file: str | Path) -> None:
        labeled = cfg.train_dataloader.dataset.labeled
        self.labeled = Path(labeled.get('data_root') or '', labeled.ann_file)
        self._dataset = _unlabeled_dataset(cfg, ann_file)
        self.classes = self._dataset.metainfo['classes']
        self.indices = unlabeled_indices(self._dataset, self.labeled)

    def label(
        self, model: SemiBaseDetector, index: int
    ) -> tuple[Tensor, DetDataSample, PseudoLabelSteps, InstanceData]:
        """Label an image.

        Returns:
            tuple: (3, H, W) padded image, its sample, the model's
            pseudo-labels, and ``labels`` and ``masks`` (m, H, W) of the
            objects.
        """
        item = self._dataset[index]
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
        steps = model.pseudo_label(data['inputs'], data['data_samples'])
        return rgb, sample, steps, _on_padded_image(sample.gt_instances, rgb)


def _on_padded_image(instances: InstanceData, rgb: Tensor) -> InstanceData:
    """Return labels and masks of annotations at the size of the image."""
    masks = pad_masks(instances.masks, spatial_size(rgb), rgb.device)
    return InstanceData(labels=instances.labels, masks=masks)


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
