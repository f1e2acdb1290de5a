# SPDX-License-Identifier: Apache-2.0
"""How good are the teacher's pseudo-labels, and what does SAM 2 change?

    python tools/analysis/pseudo_label_quality.py \
        configs/shapes/s4m_shapes_5p.py --ann data/shapes/annotations/\
instancesonly_filtered_gtFine_train.json --out work_dirs/quality

takes the teacher that the config starts from, makes pseudo-labels of the
unlabelled images, refines them, and compares both versions of the same
pseudo-labels with the ground truth, each mask with the object that it
overlaps best. Labelled images are left out. Draws a grid of
teacher | refined | ground truth.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.progress import track

sys.path.append(str(Path(__file__).parents[1]))
from whole_files import write_json


def best_overlap(
    masks: torch.Tensor, objects: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU of each mask with the object that it overlaps best.

    Args:
        masks (Tensor): (n, H, W) bool.
        objects (Tensor): (m, H, W) bool.

    Returns:
        tuple[Tensor, Tensor]: (n, ) IoU, 0 where nothing overlaps, and (n, )
        index of the object, -1 there.
    """
    if len(objects) == 0 or len(masks) == 0:
        return torch.zeros(len(masks)), torch.full((len(masks),), -1)
    a, b = masks.flatten(1).float(), objects.flatten(1).float()
    inter = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1)[None] - inter
    iou, index = (inter / union.clamp(min=1)).max(1)
    return iou, torch.where(iou > 0, index, -1)


def load_model(cfg: Config):
    """The semi-supervised model with its teacher and segmenter."""
    from s4m.models.detectors import load_detector
    from s4m.models.segmenters import attach_segmenter

    model = MODELS.build(cfg.model)
    load_detector(model.teacher, cfg.model.teacher_checkpoint)
    if model.refiner is not None:
        segmenter = MODELS.build(model.refiner.segmenter_cfg)
        attach_segmenter(model.refiner, segmenter)
    return model.eval()


@torch.no_grad()
def measure(
    cfg: Config,
    ann_file: str,
    num_pictures: int = 0,
    seed: int = 0,
    limit: int | None = None,
) -> tuple[dict, list[np.ndarray]]:
    """Compare pseudo-labels with the ground truth.

    Args:
        cfg (Config): of a ``SemiInstanceSegmentor``.
        ann_file (str): COCO JSON with the truth of the unlabelled images.
        num_pictures (int): Rows of the grid.
        seed (int): of the point sampling.
        limit (int, optional): Only the first so many images.

    Returns:
        tuple: figures and pictures, (H, 3 W, 3) BGR each.
    """
    from s4m.models.pseudo_labels import at_full_size

    init_default_scope('mmdet')
    torch.manual_seed(seed)
    model = load_model(cfg)
    labeled_cfg = cfg.train_dataloader.dataset.labeled
    labeled = Path(labeled_cfg.data_root, labeled_cfg.ann_file)
    names = {i['file_name'] for i in json.loads(labeled.read_text())['images']}
    truth_cfg = dict(
        type=labeled_cfg.type,
        ann_file=str(Path(ann_file).absolute()),
        data_root=labeled_cfg.data_root,
        data_prefix=labeled_cfg.data_prefix,
        filter_cfg=dict(filter_empty_gt=False),
        test_mode=True,
        pipeline=cfg.test_dataloader.dataset.pipeline,
    )
    dataset = DATASETS.build(truth_cfg)
    rows = []
    pictures = []
    num = min(len(dataset), limit or len(dataset))
    for n in track(range(num), 'pseudo-labels'):
        item = dataset[n]
        sample = item['data_samples']
        if sample.img_path.endswith(tuple(names)):
            continue
        rgb = item['inputs'][None].flip(1).float()
        data = model.data_preprocessor(
            dict(inputs=[item['inputs']], data_samples=[sample])
        )
        canvas = tuple(data['inputs'].shape[-2:])
        padded = torch.zeros(1, 3, *canvas)
        padded += model.data_preprocessor.mean
        padded[..., : rgb.shape[2], : rgb.shape[3]] = rgb
        instances = model.get_pseudo_instances(padded, data['data_samples'])
        teacher = at_full_size(instances[0], canvas)
        refined = teacher
        if model.refiner is not None:
            refined = model.refiner(padded, instances)[0].masks
        gt = sample.gt_instances
        objects = torch.zeros(len(gt), *canvas, dtype=torch.bool)
        if len(gt):
            masks = gt.masks.to_tensor(torch.bool, 'cpu')
            objects[:, : masks.shape[1], : masks.shape[2]] = masks
        before, index = best_overlap(teacher, objects)
        after, _ = best_overlap(refined, objects)
        right = torch.zeros(len(index), dtype=torch.bool)
        hit = index >= 0
        right[hit] = gt.labels[index[hit]] == instances[0].labels[hit]
        rows.append((before, after, right))
        if len(pictures) < num_pictures and len(teacher) > 1:
            pictures.append(
                np.concatenate(
                    [
                        paint(rgb[0], m[:, : rgb.shape[2], : rgb.shape[3]])
                        for m in (teacher, refined, objects)
                    ],
                    axis=1,
                )
            )
    before, after, right = (torch.cat(c) for c in zip(*rows, strict=True))
    if len(before) == 0:
        return dict(images=len(rows), pseudo_labels=0), pictures
    figures = dict(
        images=len(rows),
        pseudo_labels=len(before),
        per_image=round(len(before) / len(rows), 2),
        class_accuracy=round(100 * right.float().mean().item(), 1),
        teacher_mask_iou=round(100 * before.mean().item(), 1),
        refined_mask_iou=round(100 * after.mean().item(), 1),
    )
    return figures, pictures


def paint(rgb: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    """(H, W, 3) BGR picture with coloured masks."""
    image = rgb.permute(1, 2, 0).byte().numpy()[..., ::-1].copy()
    for k, mask in enumerate(masks.numpy()):
        hue = np.uint8([[[int(k * 0.618 * 180) % 180, 220, 255]]])
        color = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0]
        image[mask] = 0.4 * image[mask] + 0.6 * color
        outline, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(image, outline, -1, color.tolist(), 1)
    return image


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config')
    parser.add_argument('--ann', required=True, help='COCO JSON of the truth')
    parser.add_argument('--teacher', help='instead of teacher_checkpoint')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--pictures', type=int, default=8)
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    if args.teacher:
        cfg.model.teacher_checkpoint = args.teacher
    figures, pictures = measure(cfg, args.ann, args.pictures)
    args.out.mkdir(parents=True, exist_ok=True)
    if pictures:
        grid = np.concatenate(pictures)
        cv2.imwrite(str(args.out / 'pseudo_labels.png'), grid)
    write_json(args.out / 'quality.json', figures, indent=2)
    print(json.dumps(figures, indent=2))


if __name__ == '__main__':
    main()
