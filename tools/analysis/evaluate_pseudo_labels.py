# SPDX-License-Identifier: Apache-2.0
"""A file of pseudo-labels, or of any predictions, beside the truth.

    python tools/analysis/evaluate_pseudo_labels.py pseudo_labels.json \
        --ann data/cityscapes/annotations/\
instancesonly_filtered_gtFine_train.json \
        --image-root data/cityscapes/leftImg8bit/train --out work_dirs/quality

prints mask AP, and of each pseudo-label the class and the IoU of the object
that it overlaps best, in all and by class, and writes them with the confusion
of the classes and pictures of the worst images (pseudo-labels | truth).
Images of the truth that the file does not have are left out; images are
matched by their file names, classes by their names.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from pseudo_label_quality import (
    best_overlap,
    class_precisions,
    draw_confusion,
    paint,
    summarize,
)
from pycocotools.coco import COCO
from rich.progress import track

sys.path.append(str(Path(__file__).parents[1]))
from s4m.utils.whole_files import write_json


def load_predictions(path: Path) -> dict:
    """A prediction file that is complete.

    Raises:
        ValueError: that names what is wrong with it.
    """
    from s4m.datasets.semi_dataset import check_coco

    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as e:
        raise ValueError(f'{path} cannot be read: {e}') from e
    check_coco(data, str(path))
    for annotation in data['annotations']:
        if 'score' not in annotation:
            raise ValueError(
                f'{path}: annotation {annotation.get("id")} of image '
                f'{annotation["image_id"]} has no score: it is no prediction.'
            )
    return data


def match(found: dict, truth: dict, names: tuple[str, str]) -> dict[int, int]:
    """The image of the truth for each image of the predictions.

    Raises:
        ValueError: if an image or a category is not in the truth.
    """
    categories = {c['name'] for c in truth['categories']}
    unknown = [
        c['name'] for c in found['categories'] if c['name'] not in categories
    ]
    if unknown:
        raise ValueError(
            f'{names[0]} has the categories {unknown}, which {names[1]} does '
            f'not have: {sorted(categories)}'
        )
    by_name = {i['file_name']: i for i in truth['images']}
    images = {}
    for image in found['images']:
        own = by_name.get(image['file_name'])
        if own is None:
            raise ValueError(
                f'{names[0]} has the image {image["file_name"]}, which '
                f'{names[1]} does not have.'
            )
        if (own['height'], own['width']) != (image['height'], image['width']):
            raise ValueError(
                f'{image["file_name"]} is {image["height"]} x '
                f'{image["width"]} in {names[0]}, {own["height"]} x '
                f'{own["width"]} in {names[1]}.'
            )
        images[image['id']] = own['id']
    return images


def _index(data: dict) -> COCO:
    coco = COCO()
    coco.dataset = data
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _masks(coco: COCO, annotations: list[dict], size) -> torch.Tensor:
    """(n, H, W) bool."""
    if not annotations:
        return torch.zeros(0, *size, dtype=torch.bool)
    masks = np.stack([coco.annToMask(a) for a in annotations])
    return torch.from_numpy(masks).bool()


def evaluate(found: dict, truth: dict, images: dict[int, int]) -> dict:
    """Figures, and for each image how bad it is.

    Args:
        found (dict): Predictions.
        truth (dict): Annotations of the same images, and perhaps others.
        images (dict): From ids of ``found`` to ids of ``truth``.

    Returns:
        dict: ``figures`` and ``badness`` by the image's id in ``found``.
    """
    names = [c['name'] for c in truth['categories']]
    place = {c['id']: names.index(c['name']) for c in truth['categories']}
    found_place = {
        c['id']: names.index(c['name']) for c in found['categories']
    }
    a, b = _index(found), _index(truth)
    rows, badness = [], {}
    entries, objects = [], []
    sizes = []
    for image, own in track(images.items(), 'images'):
        info = b.imgs[own]
        size = info['height'], info['width']
        sizes.append(dict(id=own, height=size[0], width=size[1]))
        mine = a.loadAnns(a.getAnnIds([image]))
        theirs = b.loadAnns(b.getAnnIds([own]))
        for item in mine:
            label = found_place[item['category_id']]
            entries.append(dict(item, image_id=own, category_id=label))
        for item in theirs:
            label = place[item['category_id']]
            objects.append(dict(item, category_id=label))
        single = [t for t in theirs if not t.get('iscrowd')]
        masks = _masks(a, mine, size)
        targets = _masks(b, single, size)
        iou, index = best_overlap(masks, targets)
        labels = torch.tensor(
            [found_place[m['category_id']] for m in mine], dtype=torch.long
        )
        kinds = torch.tensor(
            [place[t['category_id']] for t in single], dtype=torch.long
        )
        hit = index >= 0
        own_labels = torch.full_like(index, -1)
        own_labels[hit] = kinds[index[hit]]
        rows.append((labels, own_labels, iou))
        # What is wrong, and what is not there at all.
        right = (labels == own_labels) & (iou > 0.5)
        missed = len(single) - len(index[right].unique())
        badness[image] = int((~right).sum()) + missed
    given, own, iou = (torch.cat(c) for c in zip(*rows, strict=True))
    figures = dict(
        images=len(images),
        pseudo_labels=len(given),
        per_image=round(len(given) / max(len(images), 1), 2),
    )
    if len(given):
        ap, by_class = class_precisions(sizes, objects, entries, names)
        figures['mask_ap'] = ap
        figures.update(summarize(names, given, own, mask_iou=iou))
        for name, value in by_class.items():
            figures['per_class'].setdefault(name, {})['mask_ap'] = value
    return dict(figures=figures, badness=badness)


def draw_worst(
    found: dict, truth: dict, images, badness, root: Path, num: int
) -> np.ndarray | None:
    """Grid of the worst images: pseudo-labels | truth."""
    a, b = _index(found), _index(truth)
    rows = []
    worst = sorted(badness, key=lambda i: (-badness[i], i))[:num]
    for image in worst:
        picture = cv2.imread(str(root / a.imgs[image]['file_name']))
        if picture is None:
            raise ValueError(
                f'{root / a.imgs[image]["file_name"]} cannot be read'
            )
        rgb = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)
        panels = []
        for coco, index in ((a, image), (b, images[image])):
            items = coco.loadAnns(coco.getAnnIds([index]))
            masks = _masks(coco, items, picture.shape[:2])
            panels.append(paint(rgb, masks))
        row = np.concatenate(panels, 1)
        width = 1024
        height = round(row.shape[0] * width / row.shape[1])
        rows.append(cv2.resize(row, (width, height)))
    return np.concatenate(rows) if rows else None


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('file', type=Path)
    parser.add_argument('--ann', type=Path, required=True, help='the truth')
    parser.add_argument(
        '--image-root', type=Path, help='draws the worst images'
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--pictures', type=int, default=8)
    args = parser.parse_args()
    try:
        found = load_predictions(args.file)
        truth = json.loads(args.ann.read_bytes())
        images = match(found, truth, (str(args.file), str(args.ann)))
        result = evaluate(found, truth, images)
        args.out.mkdir(parents=True, exist_ok=True)
        figures = result['figures']
        write_json(args.out / 'quality.json', figures, indent=2)
        if args.image_root:
            grid = draw_worst(
                found,
                truth,
                images,
                result['badness'],
                args.image_root,
                args.pictures,
            )
            if grid is not None:
                cv2.imwrite(str(args.out / 'worst.png'), grid)
    except (OSError, ValueError) as e:
        raise SystemExit(str(e)) from e
    confusion = figures.pop('confusion', None)
    if confusion:
        classes = figures.pop('classes')
        draw_confusion(confusion, classes, args.out / 'confusion.png')
    print(json.dumps(figures, indent=2))


if __name__ == '__main__':
    main()
