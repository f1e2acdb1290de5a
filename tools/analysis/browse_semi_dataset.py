# SPDX-License-Identifier: Apache-2.0
"""What a semi-supervised training sees, as pictures.

    python tools/analysis/browse_semi_dataset.py \
        configs/s4m_cityscapes_10p.py --out work_dirs/browse --batches 4
    python tools/analysis/browse_semi_dataset.py \
        configs/s4m_cityscapes_10p.py --out work_dirs/browse \
        --teacher work_dirs/s4m_teacher_cityscapes_10p

A row a labelled image: the image and its truth. A row an unlabelled image:
teacher's view, student's clean view and strong view; with ``--teacher`` also
the teacher's pseudo-labels, the refined ones, and the student's image after
copy-paste with the masks that it learns from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from pseudo_label_quality import load_model, paint
from rich.progress import track
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


@torch.no_grad()
def rows_of_batch(model, data: dict, labels: bool) -> list[np.ndarray]:
    """Pictures of one batch, labelled images first.

    Args:
        model (SemiInstanceSegmentor): its teacher is only used for labels.
        data (dict): a batch of the training loader.
        labels (bool): Whether to show pseudo-labels.
    """
    data = model.data_preprocessor(data, True)
    inputs, samples = data['inputs'], data['data_samples']
    rows = []
    for rgb, sample in zip(inputs['sup'], samples['sup'], strict=True):
        masks = sample.gt_instances.masks.to_tensor(torch.bool, 'cpu')
        rows.append(
            [
                panel(rgb, masks[:0], 'labelled'),
                panel(rgb, masks, f'truth ({len(masks)})'),
            ]
        )
    teacher_view, images = inputs['unsup_teacher'], inputs['unsup_student']
    empty = torch.zeros(0, *images.shape[-2:], dtype=torch.bool)
    steps = [('teacher view', teacher_view, [empty] * len(images))]
    if labels:
        from s4m.models.pseudo_labels import at_full_size

        size = tuple(images.shape[-2:])
        found = model.get_pseudo_instances(
            teacher_view, samples['unsup_teacher']
        )
        masks = [at_full_size(item, size) for item in found]
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
        strong = model.strong_augment(images)
        steps.append(('strong', strong, [empty] * len(images)))
    for i in range(len(images)):
        row = []
        for title, view, m in steps:
            count = f' ({len(m[i])})' if len(m[i]) else ''
            row.append(panel(view[i], m[i], title + count))
        rows.append(row)
    return [np.concatenate(row, axis=1) for row in rows]


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
    if 'unlabeled' not in cfg.train_dataloader.dataset:
        raise SystemExit(f'{args.config} has no unlabelled images')
    if args.teacher:
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
