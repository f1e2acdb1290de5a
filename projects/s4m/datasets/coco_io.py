# SPDX-License-Identifier: Apache-2.0
"""Masks as COCO annotations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pycocotools import mask as mask_utils


def encode_masks(masks: np.ndarray) -> list[dict]:
    """RLE of (n, H, W) masks, as JSON stores it."""
    stacked = np.asarray(masks, np.uint8).transpose(1, 2, 0)
    rles = mask_utils.encode(np.asfortranarray(stacked))
    return [dict(r, counts=r['counts'].decode()) for r in rles]


def annotation(
    image_id: int | None, category_id: int, rle: dict, **fields
) -> dict:
    """A COCO annotation without an id; ``fields`` are added or replaced."""
    entry = dict(
        image_id=image_id,
        category_id=category_id,
        segmentation=rle,
        bbox=mask_utils.toBbox(rle).tolist(),
        area=int(mask_utils.area(rle)),
        iscrowd=0,
    )
    return entry | fields


def number(
    results: Iterable[tuple[dict, list[dict]]],
) -> tuple[list[dict], list[dict]]:
    """Give images and their annotations ids, in order.

    Args:
        results (Iterable): An image and its annotations, without ids.
    """
    images, annotations = [], []
    for image, found in results:
        image['id'] = len(images)
        images.append(image)
        for item in found:
            item.update(id=len(annotations), image_id=image['id'])
            annotations.append(item)
    return images, annotations


def instance_annotations(
    pred, image_id: int, category_ids: list[int]
) -> list[dict]:
    """Annotations of one prediction, best first; empty masks are left out.

    Args:
        pred (InstanceData): ``masks`` (n, H, W), ``labels`` and ``scores``.
        image_id (int): Of the image.
        category_ids (list[int]): The category of each label.
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
