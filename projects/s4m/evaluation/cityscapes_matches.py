# SPDX-License-Identifier: Apache-2.0
"""Match predicted masks with Cityscapes' ground truth, image by image."""

from __future__ import annotations

from dataclasses import dataclass

import mmcv
import numpy as np
import torch
from cityscapesscripts.helpers.labels import id2label, labels, name2label
from mmengine.fileio import get
from torch import Tensor

#: Names of the classes that Cityscapes evaluates, in its order.
CLASSES = [x.name for x in labels if x.hasInstances and not x.ignoreInEval]
_VOID_IDS = [x.id for x in labels if x.ignoreInEval and x.id >= 0]
#: Regions of :class:`GroundTruth` before the first object.
_OTHER, _VOID, _FIRST = 0, 1, 2
#: Elements of the largest temporary on a device: 64 MiB of float32.
_CHUNK = 2**24


@dataclass(frozen=True)
class GroundTruth:
    """Objects and groups of one ``*_gtFine_instanceIds.png``.

    Only evaluated classes count. A group such as "cargroup" has the ID of its
    class, below 1000; an object has 1000 times that ID and its number.
    """

    #: (H, W) integers: 2 + the index of an object or group, 1 where a class is
    #: void, else 0.
    regions: np.ndarray
    #: (G,) indices in ``CLASSES``.
    classes: np.ndarray
    #: (G,) numbers of pixels.
    pixels: np.ndarray
    #: (G,) bools.
    is_group: np.ndarray


@dataclass(frozen=True)
class ImageMatches:
    """What the AP needs of one image: some kilobytes instead of its masks.

    A pair is a prediction and an object or group of the same class with at
    least one pixel in common.
    """

    #: File of the ground truth, which identifies the image.
    file: str
    #: (G,) fields of :class:`GroundTruth`.
    gt_classes: np.ndarray
    gt_pixels: np.ndarray
    gt_is_group: np.ndarray
    #: (P,) indices in ``CLASSES``, confidences, pixels and void pixels of the
    #: predictions that are not empty.
    classes: np.ndarray
    scores: np.ndarray
    pixels: np.ndarray
    void_pixels: np.ndarray
    #: (K,) indices of a prediction and of a ground truth, common pixels.
    pair_prediction: np.ndarray
    pair_gt: np.ndarray
    pair_pixels: np.ndarray


def read_ground_truth(
    file: str, backend_args: dict | None = None
) -> GroundTruth:
    """Read one ``*_gtFine_instanceIds.png``.

    Args:
        file (str): Path or URL.
        backend_args (dict, optional): File backend of MMEngine. Defaults to
            None, chosen by the path.

    Returns:
        GroundTruth: the objects and groups.

    Raises:
        ValueError: if the PNG has several channels or an unknown ID.
    """
    ids = mmcv.imfrombytes(
        get(file, backend_args=backend_args),
        flag='unchanged',
        backend='pillow',
    )
    if ids.ndim != 2:
        raise ValueError(
            f'{file} has {ids.shape[2]} channels. Instance IDs have one: '
            'use the *_gtFine_instanceIds.png of Cityscapes.'
        )
    counts = np.bincount(ids.reshape(-1))
    present = np.flatnonzero(counts)
    label_ids = np.where(present < 1000, present, present // 1000)
    unknown = [
        i for i, x in enumerate(label_ids.tolist()) if x not in id2label
    ]
    if unknown:
        raise ValueError(
            f'{file} has the instance ID {present[unknown[0]]}, but '
            f'Cityscapes has no label {label_ids[unknown[0]]}.'
        )
    evaluated = np.array([name2label[name].id for name in CLASSES])
    chosen = np.isin(label_ids, evaluated)
    gts = present[chosen]
    table = np.zeros(
        len(counts), np.uint8 if len(gts) + _FIRST <= 256 else np.int32
    )
    table[[x for x in _VOID_IDS if x < len(counts)]] = _VOID
    table[gts] = np.arange(len(gts)) + _FIRST
    return GroundTruth(
        regions=np.take(table, ids),
        classes=np.searchsorted(evaluated, label_ids[chosen]),
        pixels=counts[gts],
        is_group=gts < 1000,
    )


def match_image(
    file: str,
    gt: GroundTruth,
    classes: np.ndarray,
    scores: Tensor,
    masks: Tensor,
) -> ImageMatches:
    """Count the common pixels of predictions and ground truth.

    The masks may overlap and stay on their device.

    Args:
        file (str): File of the ground truth.
        gt (GroundTruth): Its objects and groups.
        classes (ndarray): (N,) indices in ``CLASSES``; -1 for another class,
            which does not count.
        scores (Tensor): (N,) confidences.
        masks (Tensor): (N, H, W) bool or integer masks.

    Returns:
        ImageMatches: the predictions that are not empty, and all pairs.

    Raises:
        ValueError: if masks and ground truth differ in size.
    """
    if masks.shape[1:] != gt.regions.shape:
        raise ValueError(
            f'Predicted masks have {tuple(masks.shape[1:])} pixels, {file} '
            f'{gt.regions.shape}: predict at the size of the original image.'
        )
    counts = region_histogram(masks, gt.regions, len(gt.classes) + _FIRST)
    pixels = counts.sum(1)
    keep = (classes >= 0) & (pixels > 0)
    counts, classes = counts[keep], classes[keep]
    common = counts[:, _FIRST:] * (classes[:, None] == gt.classes)
    prediction, index = common.nonzero()
    return ImageMatches(
        file=file,
        gt_classes=gt.classes,
        gt_pixels=gt.pixels,
        gt_is_group=gt.is_group,
        classes=classes,
        scores=scores.detach().cpu().double().numpy()[keep],
        pixels=pixels[keep],
        void_pixels=counts[:, _VOID],
        pair_prediction=prediction,
        pair_gt=index,
        pair_pixels=common[prediction, index],
    )


def region_histogram(
    masks: Tensor, regions: np.ndarray, num_regions: int
) -> np.ndarray:
    """Count the pixels of every region under every mask.

    Args:
        masks (Tensor): (N, H, W) masks on any device; a pixel belongs to a
            mask if it is not 0 as an integer.
        regions (ndarray): (H, W) indices of regions.
        num_regions (int): Number of regions, R.

    Returns:
        ndarray: (N, R) int64.
    """
    masks = masks.detach()
    if masks.dtype != torch.bool:
        masks = masks.to(torch.uint8) != 0
    flat = masks.flatten(1)
    if masks.device.type == 'cpu':
        return _count_by_words(flat.numpy(), regions.reshape(-1), num_regions)
    return count_by_products(
        flat, torch.from_numpy(regions.reshape(-1)), num_regions
    )


def _count_by_words(
    masks: np.ndarray, regions: np.ndarray, num_regions: int
) -> np.ndarray:
    """Count on the host, where most pixels of a mask are 0.

    Eight pixels at a time are skipped: the time is that of reading the masks
    once, and of the pixels near an object.

    Args:
        masks (ndarray): (N, P) bools.
        regions (ndarray): (P,) indices of regions.
        num_regions (int): Number of regions, R.
    """
    missing = -len(regions) % 8
    if missing:
        masks = np.pad(masks, ((0, 0), (0, missing)))
        regions = np.pad(regions, (0, missing))
    counts = np.zeros((len(masks), num_regions), np.int64)
    regions = regions.reshape(-1, 8)
    for mask, row in zip(masks, counts, strict=True):
        mask = np.ascontiguousarray(mask)
        words = np.flatnonzero(mask.view(np.uint64) != 0)
        inside = regions[words][mask.reshape(-1, 8)[words]]
        row += np.bincount(inside, minlength=num_regions)
    return counts


def count_by_products(
    masks: Tensor, regions: Tensor, num_regions: int
) -> np.ndarray:
    """Count on a device: matrix products, without a wait before the result.

    Factors are 0 or 1 and a chunk has at most 2^24 pixels, so that float32
    sums are exact, also those of TF32.

    Args:
        masks (Tensor): (N, P) bools.
        regions (Tensor): (P,) indices of regions.
        num_regions (int): Number of regions, R.

    Returns:
        ndarray: (N, R) int64.
    """
    device = masks.device
    regions = regions.to(device)
    names = torch.arange(num_regions, device=device)
    counts = torch.zeros(
        len(masks), num_regions, dtype=torch.int64, device=device
    )
    step = _CHUNK // max(len(masks), num_regions)
    with torch.autocast(device.type, enabled=False):
        for start in range(0, len(regions), step):
            part = slice(start, start + step)
            one_hot = (regions[part, None] == names).float()
            counts += (masks[:, part].float() @ one_hot).long()
    return counts.cpu().numpy()
