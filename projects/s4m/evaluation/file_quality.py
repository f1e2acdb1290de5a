# SPDX-License-Identifier: Apache-2.0
"""Measure the quality of a file of pseudo-labels or predictions."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from rich.progress import track

from s4m.datasets.coco_checks import check_coco
from s4m.datasets.coco_io import read_coco
from s4m.visualization import grid, panel

from .pseudo_label_quality import MaskComparison

Coco = dict[str, Any]
_LISTS = ('images', 'categories', 'annotations')


def quality_of_file(
    predictions: str | Path,
    ann_file: str | Path,
    *,
    image_root: str | Path | None = None,
    num_pictures: int = 8,
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Compare a COCO file of predictions with the ground truth.

    Images are matched by their file names, classes by their names. Images of
    the ground truth that the predictions do not list are ignored.

    Args:
        predictions (str | Path): COCO file with ``score``.
        ann_file (str | Path): COCO file of the ground truth.
        image_root (str | Path, optional): Folder of the images, of which the
            ones with most errors are drawn. Defaults to None, which draws
            nothing.
        num_pictures (int): Number of images to draw. Defaults to 8.

    Returns:
        tuple[dict, ndarray | None]: figures of
        :meth:`MaskComparison.figures`, and an RGB picture of the images with
        most errors, pseudo-labels beside ground truth.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if the file does not hold predictions, has other images or
            classes than the ground truth, or the ground truth has no instance
            in these images.
    """
    pred = load_predictions(predictions)
    gt = read_coco(ann_file, _LISTS)
    images = match_images(pred, gt, (str(predictions), str(ann_file)))
    comparison, errors = compare_files(pred, gt, images)
    if comparison.num_objects == 0:
        raise ValueError(
            f'{ann_file} has no instance in the images of {predictions}.'
        )
    rows = []
    if image_root is not None:
        worst = sorted(errors, key=lambda i: (-errors[i], i))[:num_pictures]
        rows = _draw_images(pred, gt, images, worst, Path(image_root))
    return comparison.figures(), grid(rows, width=1024)


def load_predictions(path: str | Path) -> Coco:
    """Read a COCO file of predictions.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not a COCO file, contradicts itself, has no
            image, or has an annotation without ``score``.
    """
    data = read_coco(path, _LISTS)
    check_coco(data, str(path))
    if not data['images']:
        raise ValueError(f'{path} has no image.')
    for annotation in data['annotations']:
        if 'score' not in annotation:
            raise ValueError(
                f'{path}: annotation {annotation.get("id")} of image '
                f'{annotation["image_id"]} has no score: it is not a '
                'prediction.'
            )
    return data


def match_images(
    pred: Coco, gt: Coco, names: tuple[str, str]
) -> dict[int, int]:
    """Map each image of the predictions to its image of the ground truth.

    Args:
        pred (dict): COCO dictionary of predictions.
        gt (dict): COCO dictionary of the ground truth.
        names (tuple[str, str]): Names of the two in messages.

    Returns:
        dict[int, int]: ids of ``gt`` by the ids of ``pred``.

    Raises:
        ValueError: if an image or a category is not in the ground truth, or
            an image has another size there.

    Example:
        >>> image = dict(id=1, file_name='a.png', height=4, width=4)
        >>> pred = dict(images=[image], categories=[])
        >>> gt = dict(images=[dict(image, id=9)], categories=[])
        >>> match_images(pred, gt, ('pseudo_labels.json', 'gt.json'))
        {1: 9}
    """
    categories = {c['name'] for c in gt['categories']}
    unknown = [
        c['name'] for c in pred['categories'] if c['name'] not in categories
    ]
    if unknown:
        raise ValueError(
            f'{names[0]} has the categories {unknown}, which {names[1]} does '
            f'not have: {sorted(categories)}'
        )
    by_name = {i['file_name']: i for i in gt['images']}
    images = {}
    for image in pred['images']:
        other = by_name.get(image['file_name'])
        if other is None:
            raise ValueError(
                f'{names[0]} has the image {image["file_name"]}, which '
                f'{names[1]} does not have.'
            )
        size, wanted = ((i['height'], i['width']) for i in (image, other))
        if size != wanted:
            raise ValueError(
                f'{image["file_name"]} is {size[0]} x {size[1]} in '
                f'{names[0]}, {wanted[0]} x {wanted[1]} in {names[1]}.'
            )
        images[image['id']] = other['id']
    return images


def compare_files(
    pred: Coco, gt: Coco, images: dict[int, int]
) -> tuple[MaskComparison, dict[int, int]]:
    """Compare predictions with annotations.

    Args:
        pred (dict): COCO dictionary of predictions.
        gt (dict): COCO dictionary of the ground truth of the same images, and
            perhaps of others.
        images (dict[int, int]): Ids of ``gt`` by the ids of ``pred``.

    Returns:
        tuple[MaskComparison, dict[int, int]]: the comparison, and the number
        of errors in each image, by the id in ``pred``.
    """
    names = [c['name'] for c in gt['categories']]
    comparison, errors = MaskComparison(names), {}
    a, b = _index(pred), _index(gt)
    for image, other in track(images.items(), 'images'):
        item = _instances(a, image, names)
        everything = _instances(b, other, names)
        crowd = everything.crowd
        errors[image] = comparison.add(
            item,
            dict(mask=item.masks),
            everything[~crowd],
            everything[crowd],
        )
    return comparison, errors


def _index(data: Coco) -> COCO:
    coco = COCO()
    coco.dataset = data
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _instances(coco: COCO, image: int, names: Sequence[str]) -> InstanceData:
    """Read labels, masks at image size, scores (else 1) and crowd flags."""
    items = coco.loadAnns(coco.getAnnIds([image]))
    info = coco.imgs[image]
    masks = np.zeros((len(items), info['height'], info['width']), bool)
    for mask, item in zip(masks, items, strict=True):
        mask[:] = coco.annToMask(item)
    labels = [names.index(coco.cats[i['category_id']]['name']) for i in items]
    crowd = [bool(item.get('iscrowd', 0)) for item in items]
    return InstanceData(
        labels=torch.tensor(labels, dtype=torch.long),
        masks=torch.from_numpy(masks),
        scores=torch.tensor([float(i.get('score', 1)) for i in items]),
        crowd=torch.tensor(crowd, dtype=torch.bool),
    )


def _draw_images(
    pred: Coco,
    gt: Coco,
    images: dict[int, int],
    chosen: list[int],
    root: Path,
) -> list[list[np.ndarray]]:
    """Draw panels of pseudo-labels and ground truth of some images."""
    names = [c['name'] for c in gt['categories']]
    a, b = _index(pred), _index(gt)
    rows = []
    for image in chosen:
        file = root / a.imgs[image]['file_name']
        picture = cv2.imread(str(file))
        if picture is None:
            raise ValueError(f'{file} cannot be read as an image')
        rgb = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)
        rows.append(
            [
                panel(rgb, _instances(a, image, names).masks, 'pseudo-labels'),
                panel(
                    rgb,
                    _instances(b, images[image], names).masks,
                    'ground truth',
                ),
            ]
        )
    return rows
