# SPDX-License-Identifier: Apache-2.0
"""Read and write files in COCO's format, and encode masks for them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence

import numpy as np
from mmengine.fileio import exists, get_text
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils

from s4m.utils.whole_files import write_json


# --------------------------------------------------------------------- files
def read_coco(
    path: str | os.PathLike, needs: Sequence[str] = ('images', 'categories')
) -> dict:
    """Read a file in COCO's format.

    Args:
        path: A file, or an address that MMEngine can read.
        needs (Sequence[str]): Lists that the file must have. Defaults to
            ``images`` and ``categories``.

    Returns:
        dict: The content of the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not JSON or lacks one of the lists; the
            message names the file.
    """
    path = str(path)
    if not exists(path):
        raise FileNotFoundError(f'Annotation file {path} does not exist.')
    try:
        data = json.loads(get_text(path))
    except ValueError as e:
        raise ValueError(f'{path} is not a JSON file: {e}.') from e
    if not isinstance(data, dict):
        raise ValueError(
            f"{path} is not a file in COCO's format: it holds a "
            f'{type(data).__name__}, not an object.'
        )
    for key in needs:
        if not isinstance(data.get(key), list):
            raise ValueError(
                f"{path} is not a file in COCO's format: it has no list "
                f'{key!r}.'
            )
    return data


def write_coco(
    path: str | os.PathLike,
    *,
    images: list[dict],
    annotations: list[dict],
    categories: list[dict],
    **others,
) -> None:
    """Write a file in COCO's format, whole or not at all.

    The ids of annotations stay, unless one annotation has the id 0 or no id:
    then all are numbered from 1, since pycocotools counts a match with the
    id 0 as a miss.

    Args:
        path: The file; its folder is made.
        images (list[dict]): Entries with ids.
        annotations (list[dict]): Entries with the ids of their images.
        categories (list[dict]): Entries with ids and names.
        **others: Further entries, for instance ``info``, which precede the
            others in the file.
    """
    if not all(a.get('id') for a in annotations):
        annotations = [
            dict(a, id=number) for number, a in enumerate(annotations, 1)
        ]
    data = dict(images=images, annotations=annotations, categories=categories)
    write_json(path, others | data)


def collect(
    results: Iterable[tuple[dict, list[dict]]],
) -> tuple[list[dict], list[dict]]:
    """Number images and their annotations in order.

    Args:
        results (Iterable): Pairs of an image and its annotations, without
            ids.

    Returns:
        tuple: images with ids from 0, and annotations with ids from 1 and
        the ids of their images.

    Example:
        >>> collect([(dict(file_name='a.png'), [dict(area=4)])])[1]
        [{'area': 4, 'id': 1, 'image_id': 0}]
    """
    images: list[dict] = []
    annotations: list[dict] = []
    for image, entries in results:
        image = dict(image, id=len(images))
        images.append(image)
        for entry in entries:
            number = len(annotations) + 1
            annotations.append(dict(entry, id=number, image_id=image['id']))
    return images, annotations


# --------------------------------------------------------------------- masks
def encode_masks(masks: np.ndarray) -> list[dict]:
    """Encode masks as RLE that JSON can store.

    Args:
        masks (ndarray): (n, H, W) bool or uint8.

    Returns:
        list[dict]: ``size`` (H, W) and ``counts`` of each mask.

    Example:
        >>> encode_masks(np.ones((1, 2, 3), bool))
        [{'size': [2, 3], 'counts': '06'}]
    """
    stacked = np.asarray(masks, np.uint8).transpose(1, 2, 0)
    rles = mask_utils.encode(np.asfortranarray(stacked))
    return [dict(r, counts=r['counts'].decode()) for r in rles]


def annotation(
    image_id: int | None, category_id: int, rle: dict, **fields
) -> dict:
    """Make a COCO annotation without an id.

    Args:
        image_id (int, optional): Id of the image.
        category_id (int): Id of the category.
        rle (dict): Mask, see :func:`encode_masks`.
        **fields: Entries that are added or replaced.

    Returns:
        dict: The annotation with the box (x, y, width, height) and the area
        of the mask in pixels.
    """
    entry = dict(
        image_id=image_id,
        category_id=category_id,
        segmentation=rle,
        bbox=mask_utils.toBbox(rle).tolist(),
        area=int(mask_utils.area(rle)),
        iscrowd=0,
    )
    return entry | fields


def instance_annotations(
    pred: InstanceData, image_id: int, category_ids: list[int]
) -> list[dict]:
    """Make the annotations of one prediction, the best score first.

    Empty masks are left out.

    Args:
        pred (InstanceData): ``masks`` (n, H, W), ``labels`` and ``scores``.
        image_id (int): Id of the image.
        category_ids (list[int]): Id of the category of each label.
    """
    pred = pred.cpu().numpy()
    order = np.argsort(-pred.scores, kind='stable')
    order = order[pred.masks[order].any((1, 2))]
    return [
        annotation(
            image_id,
            category_ids[pred.labels[k]],
            rle,
            score=round(float(pred.scores[k]), 5),
        )
        for k, rle in zip(order, encode_masks(pred.masks[order]), strict=True)
    ]
