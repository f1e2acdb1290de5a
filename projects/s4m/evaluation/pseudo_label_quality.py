# SPDX-License-Identifier: Apache-2.0
"""Compare pseudo-labels with the ground truth."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from s4m.datasets.coco_io import annotation, encode_masks
from s4m.structures.masks import pairwise_iou
from s4m.utils.whole_files import write_json
from s4m.visualization import draw_confusion, save_picture

from .label_matches import LabelMatches

#: Name of the class or mask of the object in ``variants``.
TRUE = 'true'


class MaskComparison:
    """Compares pseudo-labels with the objects that they overlap best.

    The pseudo-labels may have several versions of their masks, for instance
    before and after refinement. The first version determines the object that
    a pseudo-label is compared with.

    Args:
        classes (Sequence[str]): Names of the classes.
        versions (Sequence[str]): Names of the versions, whose IoUs are called
            ``{version}_iou``. Defaults to the one version ``mask``.
        variants (Mapping[str, tuple[str, str]], optional): Labels and masks
            of each mask AP, by the name in the figures. Labels are ``given``
            or ``true`` (the object's), masks are a version or ``true``.
            Defaults to None, one AP of the given labels and the first
            version.

    Example:
        >>> masks = torch.ones(1, 4, 4, dtype=torch.bool)
        >>> gt = InstanceData(labels=torch.tensor([0]), masks=masks)
        >>> pred = InstanceData(labels=gt.labels, scores=torch.ones(1))
        >>> comparison = MaskComparison(['car'])
        >>> comparison.add(pred, dict(mask=masks), gt)
        0
        >>> comparison.figures()['mask_ap']
        100.0
    """

    def __init__(
        self,
        classes: Sequence[str],
        versions: Sequence[str] = ('mask',),
        variants: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.versions = tuple(versions)
        self._matches = LabelMatches()
        self._single = variants is None
        self.variants = dict(variants or {'': ('given', versions[0])})
        self._given: list[Tensor] = []
        self._true: list[Tensor] = []
        self._ious: dict[str, list[Tensor]] = {v: [] for v in self.versions}
        self._images: list[dict[str, int]] = []
        self._objects: list[dict[str, Any]] = []
        self._entries: dict[str, list[dict[str, Any]]] = {
            name: [] for name in self.variants
        }

    @property
    def num_objects(self) -> int:
        """Number of objects in all images, without groups."""
        return sum(not item['iscrowd'] for item in self._objects)

    def add(
        self,
        pred: InstanceData,
        masks: Mapping[str, Tensor],
        gt: InstanceData,
        crowds: InstanceData | None = None,
    ) -> int:
        """Add one image.

        Args:
            pred (InstanceData): ``labels`` and ``scores`` (n, ) of the
                pseudo-labels.
            masks (Mapping[str, Tensor]): (n, H, W) bool of each version.
            gt (InstanceData): ``labels`` (m, ) and ``masks`` (m, H, W) bool
                of the objects.
            crowds (InstanceData, optional): Labels and masks of groups of
                objects. As in COCO, mask AP ignores a pseudo-label of the
                same class in a group. Defaults to None.

        Returns:
            int: number of wrong pseudo-labels, which have another class or
            an IoU of at most one half, plus the number of objects without a
            right pseudo-label.
        """
        image = len(self._images) + 1
        height, width = gt.masks.shape[1:]
        self._images.append(dict(id=image, height=height, width=width))
        labels, kinds = pred.labels.cpu(), gt.labels.cpu()
        ious = {}
        index = torch.zeros(0, dtype=torch.long)
        for number, name in enumerate(self.versions):
            ious[name], best = best_overlap(masks[name], gt.masks)
            index = best if number == 0 else index
            self._ious[name].append(ious[name])
        self._matches.add(pred, kinds, ious[self.versions[0]], index)
        hit = index >= 0
        true = torch.full_like(index, -1)
        true[hit] = kinds[index[hit]]
        self._given.append(labels)
        self._true.append(true)

        rles = {v: encode_masks(masks[v].cpu().numpy()) for v in self.versions}
        objects = encode_masks(gt.masks.cpu().numpy())
        rles[TRUE] = [
            objects[i] if i >= 0 else rle
            for i, rle in zip(
                index.tolist(), rles[self.versions[0]], strict=True
            )
        ]
        self._objects += _annotations(image, kinds, objects)
        if crowds is not None:
            groups = encode_masks(crowds.masks.cpu().numpy())
            self._objects += _annotations(
                image, crowds.labels.cpu(), groups, iscrowd=1
            )
        whose = dict(given=labels, true=true.where(hit, labels))
        for name, (classes, which) in self.variants.items():
            entries = _annotations(image, whose[classes], rles[which])
            for entry, score in zip(
                entries, pred.scores.tolist(), strict=True
            ):
                entry['score'] = score
            self._entries[name] += entries
        right = (labels == true) & (ious[self.versions[0]] > 0.5)
        missed = len(gt) - len(index[right].unique())
        return int((~right).sum()) + missed

    def figures(self) -> dict[str, Any]:
        """Compute counts, and class accuracy, IoU and mask AP in percent.

        Returns:
            dict: ``images``, ``pseudo_labels``, ``per_image``, the counts of
            :class:`LabelMatches` for the first version, ``mask_ap`` (-1
            without an object, 0 without a pseudo-label), ``classes``,
            ``confusion`` (rows are the classes of objects and "no object",
            columns the classes of pseudo-labels), ``class_accuracy`` and the
            IoUs if there is a pseudo-label, and ``per_class`` with these
            figures of each class.

        Raises:
            ValueError: if no image was added.
        """
        if not self._images:
            raise ValueError('There is no image to compare.')
        given, true = torch.cat(self._given), torch.cat(self._true)
        ious = {
            f'{name}_iou': torch.cat(values)
            for name, values in self._ious.items()
        }
        matrix = torch.zeros(len(self.classes) + 1, len(self.classes))
        # The index -1, no object, addresses the last row.
        matrix.index_put_(
            (true, given), torch.ones(len(true)), accumulate=True
        )
        precisions = {
            name: class_precisions(
                self._images, self._objects, entries, self.classes
            )
            for name, entries in self._entries.items()
        }

        def summary(chosen: Tensor) -> dict[str, Any]:
            return dict(
                pseudo_labels=int(chosen.sum()),
                class_accuracy=_percent((given == true)[chosen].float()),
                **{name: _percent(iou[chosen]) for name, iou in ious.items()},
            )

        per_class: dict[str, dict[str, Any]] = {}
        for k, name in enumerate(self.classes):
            if (true == k).any():
                per_class[name] = summary(true == k)
            values = {
                variant: by_class[name]
                for variant, (_, by_class) in precisions.items()
                if name in by_class
            }
            if values:
                per_class.setdefault(name, {})['mask_ap'] = self._ap(values)
        everything = torch.ones_like(given, dtype=torch.bool)
        return dict(
            images=len(self._images),
            pseudo_labels=len(given),
            per_image=round(len(given) / len(self._images), 2),
            **{k: round(v, 2) for k, v in self._matches.figures().items()},
            mask_ap=self._ap({n: ap for n, (ap, _) in precisions.items()}),
            **{
                k: v
                for k, v in summary(everything).items()
                if len(given) and k != 'pseudo_labels'
            },
            per_class=per_class,
            classes=list(self.classes),
            confusion=matrix.int().tolist(),
        )

    def _ap(self, values: dict[str, float]) -> float | dict[str, float]:
        return values[''] if self._single else values


def best_overlap(masks: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Find the object that each mask overlaps best.

    Args:
        masks (Tensor): (n, H, W) bool.
        objects (Tensor): (m, H, W) bool.

    Returns:
        tuple[Tensor, Tensor]: (n, ) IoU and (n, ) index of the object, 0 and
        -1 for a mask that overlaps no object; both on the host.

    Example:
        >>> masks = torch.ones(1, 2, 2, dtype=torch.bool)
        >>> best_overlap(masks, masks)
        (tensor([1.]), tensor([0]))
    """
    if len(objects) == 0:
        return torch.zeros(len(masks)), torch.full((len(masks),), -1)
    iou, index = pairwise_iou(masks, objects).cpu().max(1)
    return iou, torch.where(iou > 0, index, -1)


def class_precisions(
    images: list[dict[str, int]],
    objects: list[dict[str, Any]],
    entries: list[dict[str, Any]],
    classes: Sequence[str],
    max_dets: int = 100,
) -> tuple[float, dict[str, float]]:
    """Compute COCO mask AP x 100 by pycocotools.

    Args:
        images (list[dict]): ``id``, ``height`` and ``width``.
        objects (list[dict]): Annotations without an id.
        entries (list[dict]): Predictions as annotations with ``score``.
        classes (Sequence[str]): Names; class k has the category id k + 1.
        max_dets (int): Number of an image's best predictions that count.
            Defaults to 100, COCO's.

    Returns:
        tuple[float, dict[str, float]]: AP over all classes, -1 without an
        object, and AP of each class that has an object.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        gt, pred = (_index(images, a, classes) for a in (objects, entries))
        evaluation = COCOeval(gt, pred, 'segm')
        evaluation.params.maxDets = [max_dets]
        evaluation.evaluate()
        evaluation.accumulate()
    # The shape is (IoU, recall, class, area, number); -1 means no object.
    precision = evaluation.eval['precision'][:, :, :, 0, -1]
    by_class = {
        name: round(100 * float(precision[..., k].mean()), 1)
        for k, name in enumerate(classes)
        if precision[..., k].max() > -1
    }
    known = precision[precision > -1]
    ap = round(100 * float(known.mean()), 1) if known.size else -1.0
    return ap, by_class


def _index(
    images: list[dict[str, int]],
    annotations: list[dict[str, Any]],
    classes: Sequence[str],
) -> COCO:
    """Index annotations with ids from 1; pycocotools misses an id 0."""
    coco = COCO()
    coco.dataset = dict(
        images=images,
        annotations=[dict(a, id=i) for i, a in enumerate(annotations, 1)],
        categories=[dict(id=k, name=n) for k, n in enumerate(classes, 1)],
    )
    coco.createIndex()
    return coco


def _annotations(
    image: int, labels: Tensor, rles: list[dict[str, Any]], **fields: Any
) -> list[dict[str, Any]]:
    """Make COCO annotations without ids; label k is the category k + 1."""
    return [
        annotation(image, label + 1, rle, **fields)
        for label, rle in zip(labels.tolist(), rles, strict=True)
    ]


def _percent(values: Tensor) -> float:
    return round(100 * values.mean().item(), 1)


def write_quality(
    out: str | Path,
    figures: dict[str, Any],
    **pictures: np.ndarray | None,
) -> str:
    """Write figures and pictures of a comparison.

    Args:
        out (str | Path): Folder that gets ``quality.json``, ``confusion.png``
            and ``{name}.png`` of each picture; it is made.
        figures (dict): :meth:`MaskComparison.figures`.
        **pictures (ndarray, optional): RGB pictures by name; None is skipped.

    Returns:
        str: the figures without the confusion, as JSON.
    """
    out = Path(out)
    write_json(out / 'quality.json', figures, indent=2)
    draw_confusion(
        figures['confusion'], figures['classes'], out / 'confusion.png'
    )
    for name, picture in pictures.items():
        if picture is not None:
            save_picture(out / f'{name}.png', picture)
    shown = {
        k: v for k, v in figures.items() if k not in ('confusion', 'classes')
    }
    return json.dumps(shown, indent=2)
