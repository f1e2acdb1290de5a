# SPDX-License-Identifier: Apache-2.0
"""The comparison of pseudo-labels with the ground truth."""

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

#: In ``variants``: the class or the mask of the object, not the prediction's.
TRUE = 'true'


class MaskComparison:
    """Compares pseudo-labels with the objects that they overlap best.

    The pseudo-labels may have several versions of their masks, such as those
    before and after refinement. The first version says which object a
    pseudo-label is compared with.

    Args:
        classes (Sequence[str]): Names of the classes.
        versions (Sequence[str]): Names of the versions, by default the one
            version ``mask``. Their IoUs are called ``{version}_iou``.
        variants (Mapping[str, tuple[str, str]], optional): What mask AP is
            computed of, by its name in the figures: the labels (``given``, or
            ``true`` for those of the objects) and the masks (a version, or
            ``true``). By default one number, of the given labels and the
            first version.

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
        """Objects of all images, groups left out."""
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
            crowds (InstanceData, optional): The same of groups of objects. A
                pseudo-label of their class in one of them counts neither as
                right nor as wrong in mask AP, as COCO evaluates.

        Returns:
            int: number of wrong pseudo-labels, which have another class or
            an IoU of at most one half, plus that of the objects without a
            right one.
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
        """Counts; class accuracy, IoU and mask AP in percent.

        Returns:
            dict: ``images``, ``pseudo_labels``, ``per_image``, ``mask_ap``
            (-1 without an object, 0 without a pseudo-label), ``classes``,
            ``confusion`` (rows are classes of objects, the last one "no
            object", columns those of pseudo-labels), ``class_accuracy`` and
            the IoUs, unless there is no pseudo-label, and ``per_class`` with
            these figures of each class.

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
        # -1, no object, is the last row.
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
        tuple[Tensor, Tensor]: (n, ) IoU, 0 where nothing overlaps, and (n, )
        index of the object, -1 there; both on the host.
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
) -> tuple[float, dict[str, float]]:
    """COCO mask AP x 100 by pycocotools.

    Args:
        images (list[dict]): ``id``, ``height`` and ``width``.
        objects (list[dict]): Annotations without an id.
        entries (list[dict]): The same of predictions, with ``score``.
        classes (Sequence[str]): Names; class k has the category id k + 1.

    Returns:
        tuple[float, dict[str, float]]: AP of all classes, -1 where there is
        no object, and of each class that has an object.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        gt, found = (_index(images, a, classes) for a in (objects, entries))
        evaluation = COCOeval(gt, found, 'segm')
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
    ap = float(evaluation.stats[0])
    return (round(100 * ap, 1) if ap >= 0 else -1.0), by_class


def _index(
    images: list[dict[str, int]],
    annotations: list[dict[str, Any]],
    classes: Sequence[str],
) -> COCO:
    """Index of annotations, ids from 1: pycocotools misses a match of id 0."""
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
    """COCO annotations without ids; label k is the category k + 1."""
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
        **pictures (ndarray, optional): RGB by name; None is left out.

    Returns:
        str: the figures without the confusion, as a text to print.
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
