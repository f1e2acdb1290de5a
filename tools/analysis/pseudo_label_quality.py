# SPDX-License-Identifier: Apache-2.0
"""How good are the teacher's pseudo-labels, and what does SAM 2 change?

    python tools/analysis/pseudo_label_quality.py \
        configs/s4m/s4m_shapes_5p.py --ann data/shapes/annotations/\
instancesonly_filtered_gtFine_train.json --out work_dirs/quality

takes the teacher that the config starts from, makes pseudo-labels of the
unlabelled images, refines them, and compares both versions of the same
pseudo-labels with the ground truth, each mask with the object that it
overlaps best, in all and by class, as S4M's motivating figure. Their mask AP
is also taken with the objects' masks instead of their own, and with the
objects' classes: what limits them, masks or classes? Labelled images are left
out. Writes ``quality.json``, a grid of teacher | refined | ground truth, and
the confusion of the classes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.progress import track

sys.path.append(str(Path(__file__).parents[1]))
from s4m.datasets.coco_io import annotation, encode_masks
from s4m.structures.masks import pairwise_iou
from s4m.utils.whole_files import write_json

matplotlib.use('Agg')
from matplotlib import pyplot as plt


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
    if len(objects) == 0:
        return torch.zeros(len(masks)), torch.full((len(masks),), -1)
    iou, index = pairwise_iou(masks, objects).max(1)
    return iou, torch.where(iou > 0, index, -1)


def load_model(cfg: Config):
    """The semi-supervised model with its teacher and segmenter."""
    from s4m.models.detectors import load_detector
    from s4m.models.promptable import attach_segmenter

    model = MODELS.build(cfg.model)
    load_detector(model.teacher, cfg.model.teacher_checkpoint)
    if model.refiner is not None:
        segmenter = MODELS.build(model.refiner.segmenter_cfg)
        attach_segmenter(model.refiner, segmenter)
    return model.eval()


def unlabeled(dataset, labeled: Path) -> list[int]:
    """Indices of the images that a COCO file of the same folder lacks.

    Args:
        dataset (CocoDataset): The images.
        labeled (Path): COCO file of the labelled images.
    """
    images = json.loads(labeled.read_text())['images']
    folder = dataset.data_prefix['img']
    # As MMDet joins them. A name may end as another: 1.jpg and 11.jpg.
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
    from s4m.structures.masks import masks_at_image_size

    init_default_scope('mmdet')
    torch.manual_seed(seed)
    model = load_model(cfg)
    labeled_cfg = cfg.train_dataloader.dataset.labeled
    labeled = Path(labeled_cfg.data_root, labeled_cfg.ann_file)
    truth_cfg = dict(
        type=labeled_cfg.type,
        ann_file=str(Path(ann_file).absolute()),
        data_root=labeled_cfg.data_root,
        data_prefix=labeled_cfg.data_prefix,
        filter_cfg=dict(filter_empty_gt=False),
        test_mode=True,
        pipeline=cfg.test_dataloader.dataset.pipeline,
    )
    # MMDet's test pipelines load the truth after resizing the image alone.
    steps = truth_cfg['pipeline']
    loading = [s for s in steps if s['type'].startswith('Load')]
    others = [s for s in steps if not s['type'].startswith('Load')]
    truth_cfg['pipeline'] = [*loading, *others]
    dataset = DATASETS.build(truth_cfg)
    classes = dataset.metainfo['classes']
    table = Comparison(classes)
    pictures = []
    left = unlabeled(dataset, labeled)
    if limit is not None:
        left = [n for n in left if n < limit]
    for n in track(left, 'pseudo-labels'):
        item = dataset[n]
        sample = item['data_samples']
        rgb = item['inputs'][None].flip(1).float()
        data = model.data_preprocessor(
            dict(inputs=[item['inputs']], data_samples=[sample])
        )
        canvas = tuple(data['inputs'].shape[-2:])
        padded = torch.zeros(1, 3, *canvas)
        padded += model.data_preprocessor.mean
        padded[..., : rgb.shape[2], : rgb.shape[3]] = rgb
        instances = model.get_pseudo_instances(padded, data['data_samples'])
        teacher = masks_at_image_size(instances[0], canvas)
        refined = teacher
        if model.refiner is not None:
            refined = model.refiner(padded, instances)[0].masks
        gt = sample.gt_instances
        objects = torch.zeros(len(gt), *canvas, dtype=torch.bool)
        if len(gt):
            masks = gt.masks.to_tensor(torch.bool, 'cpu')
            objects[:, : masks.shape[1], : masks.shape[2]] = masks
        crowds = sample.ignored_instances.masks.masks
        table.add(instances[0], teacher, refined, gt.labels, objects, crowds)
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
    return table.figures(), pictures


class Comparison:
    """Pseudo-labels beside the objects that they overlap best.

    Args:
        classes (Sequence[str]): Names.
    """

    #: Whose classes and whose masks the mask AP is taken with.
    VARIANTS = (
        'teacher_classes_teacher_masks',
        'teacher_classes_refined_masks',
        'teacher_classes_true_masks',
        'true_classes_refined_masks',
    )

    def __init__(self, classes) -> None:
        self.classes = tuple(classes)
        self.rows: list[tuple[torch.Tensor, ...]] = []
        self.images: list[dict] = []
        self.truth: list[dict] = []
        self.found: dict[str, list[dict]] = {v: [] for v in self.VARIANTS}

    def add(self, item, teacher, refined, labels, objects, crowds) -> None:
        """One image.

        Args:
            item (InstanceData): with ``labels`` and ``scores`` (n, ).
            teacher, refined (Tensor): (n, H, W) bool.
            labels (Tensor): (m, ) of the objects.
            objects (Tensor): (m, H, W) bool.
            crowds (ndarray): (k, h, w) of groups, which count nowhere.
        """
        image = len(self.images)
        height, width = objects.shape[1:]
        self.images.append(dict(id=image, height=height, width=width))
        before, index = best_overlap(teacher, objects)
        after, _ = best_overlap(refined, objects)
        hit = index >= 0
        own = torch.full_like(index, -1)
        own[hit] = labels[index[hit]]
        self.rows.append((before, after, item.labels, own))

        masks = dict(
            teacher=encode_masks(teacher),
            refined=encode_masks(refined),
            objects=encode_masks(objects),
        )
        masks['true'] = [
            masks['objects'][i] if i >= 0 else rle
            for i, rle in zip(index.tolist(), masks['refined'], strict=True)
        ]
        kinds = dict(teacher=item.labels, true=own.where(hit, item.labels))
        for label, rle in zip(labels.tolist(), masks['objects'], strict=True):
            self.truth.append(annotation(image, label, rle))
        groups = torch.zeros(len(crowds), height, width, dtype=torch.bool)
        groups[:, : crowds.shape[1], : crowds.shape[2]] = torch.from_numpy(
            crowds.astype(bool)
        )
        for rle in encode_masks(groups):
            for label in range(len(self.classes)):
                entry = annotation(image, label, rle)
                self.truth.append(dict(entry, iscrowd=1))
        for name in self.VARIANTS:
            whose, _, which, _ = name.split('_')
            for label, rle, score in zip(
                kinds[whose].tolist(),
                masks[which],
                item.scores.tolist(),
                strict=True,
            ):
                entry = annotation(image, label, rle)
                self.found[name].append(dict(entry, score=score))

    def figures(self) -> dict:
        """Counts, accuracy, IoU and AP, the last three in percent."""
        before, after, given, own = (
            torch.cat(c) for c in zip(*self.rows, strict=True)
        )
        if len(before) == 0:
            return dict(images=len(self.rows), pseudo_labels=0)

        return dict(
            images=len(self.rows),
            per_image=round(len(before) / len(self.rows), 2),
            mask_ap={
                name: average_precision(
                    self.images, self.truth, found, self.classes
                )
                for name, found in self.found.items()
            },
            **summarize(
                self.classes,
                given,
                own,
                teacher_mask_iou=before,
                refined_mask_iou=after,
            ),
        )


def summarize(classes, given, own, **ious: torch.Tensor) -> dict:
    """Class accuracy and mask IoU, in all and by class, in percent.

    Args:
        classes (Sequence[str]): Names.
        given (Tensor): (n, ) classes of the pseudo-labels.
        own (Tensor): (n, ) of the objects that they overlap best, or -1.
        **ious (Tensor): (n, ) with that object, by the name in the result.
    """

    def summary(chosen: torch.Tensor) -> dict:
        return dict(
            pseudo_labels=int(chosen.sum()),
            class_accuracy=_percent((given == own)[chosen].float()),
            **{name: _percent(iou[chosen]) for name, iou in ious.items()},
        )

    matrix = torch.zeros(len(classes) + 1, len(classes))
    for true, label in zip(own.tolist(), given.tolist(), strict=True):
        matrix[true, label] += 1
    return dict(
        **summary(torch.ones_like(given, dtype=torch.bool)),
        per_class={
            name: summary(own == k)
            for k, name in enumerate(classes)
            if (own == k).any()
        },
        classes=list(classes),
        # Rows: true class, the last one nothing; columns: given class.
        confusion=matrix.int().tolist(),
    )


def _percent(values: torch.Tensor) -> float:
    return round(100 * values.mean().item(), 1)


def average_precision(
    images: list[dict], truth: list[dict], found: list[dict], classes
) -> float:
    """COCO mask AP x 100 by pycocotools, -1 without an object."""
    return class_precisions(images, truth, found, classes)[0]


def class_precisions(
    images: list[dict], truth: list[dict], found: list[dict], classes
) -> tuple[float, dict[str, float]]:
    """COCO mask AP x 100 in all and of each class that has an object."""
    coco = COCO()
    coco.dataset = dict(
        images=images,
        annotations=[dict(a, id=i + 1) for i, a in enumerate(truth)],
        categories=[dict(id=i, name=n) for i, n in enumerate(classes)],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        results = COCO()
        results.dataset = dict(
            coco.dataset,
            annotations=[dict(a, id=i + 1) for i, a in enumerate(found)],
        )
        results.createIndex()
        evaluation = COCOeval(coco, results, 'segm')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # (IoU, recall, class, area, number), -1 where there is no object.
    precision = evaluation.eval['precision'][:, :, :, 0, -1]
    by_class = {
        name: round(100 * float(precision[..., k].mean()), 1)
        for k, name in enumerate(classes)
        if precision[..., k].max() > -1
    }
    return round(100 * float(evaluation.stats[0]), 1), by_class


def draw_confusion(matrix, classes: list[str], path: Path) -> None:
    """Heat map of the classes, in percent of a true class's pseudo-labels."""
    matrix = np.array(matrix, float)
    share = 100 * matrix / matrix.sum(1, keepdims=True).clip(min=1)
    side = 2 + 0.5 * len(classes)
    figure, axes = plt.subplots(figsize=(side, side))
    axes.imshow(share, cmap='Blues', vmin=0, vmax=100)
    names = [*classes, 'no object']
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel('class of the pseudo-label')
    axes.set_ylabel('class of the object')
    if len(classes) <= 20:
        for i, row in enumerate(share):
            for j, value in enumerate(row):
                color = 'white' if value > 50 else 'black'
                axes.text(
                    j, i, f'{value:.0f}', ha='center', va='center', color=color
                )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


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
    confusion = figures.pop('confusion', None)
    if confusion:
        path = args.out / 'confusion.png'
        draw_confusion(confusion, figures.pop('classes'), path)
    print(json.dumps(figures, indent=2))


if __name__ == '__main__':
    main()
