# SPDX-License-Identifier: Apache-2.0
"""What a semi-supervised training sees, as pictures.

    python tools/analysis/browse_semi_dataset.py \
        configs/s4m_cityscapes_10p.py --out work_dirs/browse --batches 4
    python tools/analysis/browse_semi_dataset.py \
        configs/s4m_cityscapes_10p.py --out work_dirs/browse \
        --teacher work_dirs/s4m_teacher_cityscapes_10p
    python tools/analysis/browse_semi_dataset.py \
        configs/sskd/sskd_distill_cityscapes_10p.py --out work_dirs/browse

A row a labelled image: the image and its truth. A row an unlabelled image:
teacher's view, student's clean view and strong view; with ``--teacher`` also
the teacher's pseudo-labels, the refined ones, and the student's image after
copy-paste with the masks that it learns from. Where pseudo-labels come from a
file, each image, labelled or not, has a row: the weak view, what it learns
from, and the strong view.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from pseudo_label_quality import load_model, paint
from rich.progress import track
from s4m.models.detectors import ContrastiveDistillMixin, valid_sizes
from s4m.structures.masks import pad_masks
from torch import Tensor


def panel(rgb: Tensor, masks: Tensor, title: str) -> np.ndarray:
    """(H, W, 3) BGR picture of (3, H, W) pixels, masks and a title."""
    picture = np.ascontiguousarray(paint(rgb.clamp(0, 255).cpu(), masks.cpu()))
    size = max(0.35, min(rgb.shape[1:]) / 500)
    place = (4, int(22 * size) + 4)
    for color, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            picture, title, place, cv2.FONT_HERSHEY_SIMPLEX, size, color, width
        )
    return picture


def annotated(
    images: Tensor, samples: SampleList, titles: tuple[str, str]
) -> list[list[np.ndarray]]:
    """Two panels an image: the image, and its annotations.

    Args:
        images (Tensor): (B, 3, H, W) pixels.
        samples (list[DetDataSample]): with masks.
        titles (tuple[str, str]): of the two.
    """
    rows = []
    for rgb, sample in zip(images, samples, strict=True):
        masks = sample.gt_instances.masks
        masks = pad_masks(masks, tuple(images.shape[-2:]), rgb.device)
        rows.append(
            [
                panel(rgb, masks[:0], titles[0]),
                panel(rgb, masks, f'{titles[1]} ({len(masks)})'),
            ]
        )
    return rows


def contrastive_rows(model, inputs: dict, samples: dict) -> list[list]:
    """Panels of a ``ContrastiveDistillMixin``'s batch."""
    rows, views, sizes = [], [], []
    for branch, titles in (
        ('sup', ('labelled', 'truth')),
        ('unsup', ('unlabelled', 'pseudo-labels')),
    ):
        if branch in inputs:
            rows += annotated(inputs[branch], samples[branch], titles)
            views.append(inputs[branch])
            sizes += [s.img_shape[:2] for s in samples[branch]]
    if model.strong_augment is not None:
        # Of all images in one call, as in training.
        strong = model.strong_augment(torch.cat(views), sizes)
        empty = torch.zeros(0, *strong.shape[-2:], dtype=torch.bool)
        for row, rgb in zip(rows, strong, strict=True):
            row.append(panel(rgb, empty, 'strong'))
    return rows


@torch.no_grad()
def rows_of_batch(model, data: dict, labels: bool) -> list[np.ndarray]:
    """Pictures of one batch, labelled images first.

    Args:
        model (SemiInstanceSegmentor | ContrastiveDistillMixin): the teacher
            of the first is only used for labels.
        data (dict): a batch of the training loader.
        labels (bool): Whether to show pseudo-labels that the teacher makes.
    """
    data = model.data_preprocessor(data, True)
    inputs, samples = data['inputs'], data['data_samples']
    if isinstance(model, ContrastiveDistillMixin):
        rows = contrastive_rows(model, inputs, samples)
    else:
        rows = semi_rows(model, inputs, samples, labels)
    return [np.concatenate(row, axis=1) for row in rows]


def semi_rows(model, inputs: dict, samples: dict, labels: bool) -> list[list]:
    """Panels of a ``SemiInstanceSegmentor``'s batch."""
    rows = annotated(inputs['sup'], samples['sup'], ('labelled', 'truth'))
    teacher_view, images = inputs['unsup_teacher'], inputs['unsup_student']
    empty = torch.zeros(0, *images.shape[-2:], dtype=torch.bool)
    steps = [('teacher view', teacher_view, [empty] * len(images))]
    if labels:
        from s4m.structures.masks import masks_at_image_size

        size = tuple(images.shape[-2:])
        found = model.get_pseudo_instances(
            teacher_view, samples['unsup_teacher']
        )
        masks = [masks_at_image_size(item, size) for item in found]
        steps.append(('pseudo-labels', teacher_view, masks))
        if model.refiner is not None:
            found = model.refiner(teacher_view, found)
            masks = [item.masks for item in found]
            steps.append(('refined', teacher_view, masks))
        if model.copy_paste is not None:
            images, found = model.copy_paste(images, found)
            masks = [item.masks for item in found]
            steps.append(('copy-paste', images, masks))
    else:
        steps.append(('student view', images, [empty] * len(images)))
    if model.strong_augment is not None:
        shown = found if labels else [InstanceData()] * len(images)
        sizes = valid_sizes(
            samples['unsup_student'], shown, tuple(images.shape[-2:])
        )
        strong = model.strong_augment(images, sizes)
        steps.append(('strong', strong, [empty] * len(images)))
    for i in range(len(images)):
        row = []
        for title, view, m in steps:
            count = f' ({len(m[i])})' if len(m[i]) else ''
            row.append(panel(view[i], m[i], title + count))
        rows.append(row)
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--batches', type=int, default=2)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--teacher', help='checkpoint or work directory: show pseudo-labels'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    init_default_scope('mmdet')
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    preprocessor = cfg.model.get('data_preprocessor', {}).get('type')
    if preprocessor != 'SemiDataPreprocessor':
        raise SystemExit(
            f"{args.config} trains on labelled images alone; MMDetection's "
            'tools/analysis_tools/browse_dataset.py shows those.'
        )
    if args.teacher:
        if 'teacher_checkpoint' not in cfg.model:
            raise SystemExit(
                f'--teacher: {args.config} has no teacher in its model; its '
                'pseudo-labels come from a file and are shown anyway.'
            )
        cfg.model.teacher_checkpoint = args.teacher
        try:
            model = load_model(cfg)
        except (FileNotFoundError, ValueError) as e:
            raise SystemExit(str(e)) from e
    else:
        model = MODELS.build(cfg.model)
    torch.manual_seed(args.seed)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    batches = iter(loader)
    for number in track(range(args.batches), 'batches'):
        rows = rows_of_batch(model, next(batches), args.teacher is not None)
        for k, row in enumerate(rows):
            cv2.imwrite(str(args.out / f'{number:03d}_{k:02d}.png'), row)
    print(f'{args.out}: {args.batches} batches')


if __name__ == '__main__':
    main()
