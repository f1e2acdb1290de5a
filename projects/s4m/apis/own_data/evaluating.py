# SPDX-License-Identifier: Apache-2.0
"""Compute the mask AP of a run's networks on labelled images."""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from pycocotools.coco import COCO

from s4m.apis.config import get_config
from s4m.apis.photos import Photos, read_batches
from s4m.apis.prediction import load_model
from s4m.datasets.coco_io import instance_annotations
from s4m.datasets.formats import LabelledSet, read_labels
from s4m.evaluation.coco_instance_metric import fastest_evaluation

from .networks import Network, choose_network, max_detections
from .run_folder import network_names, open_run


@dataclass(frozen=True)
class ClassAP:
    """Mask AP of a class.

    Attributes:
        name (str): Name of the class.
        images (int): Number of images that show it.
        objects (int): Number of its objects.
        ap (float): AP x 100 over the IoUs 0.5 to 0.95.
        ap50 (float): AP x 100 at an IoU of 0.5.
    """

    name: str
    images: int
    objects: int
    ap: float
    ap50: float


@dataclass(frozen=True)
class NetworkAP:
    """Mask AP of a network.

    Attributes:
        ap (float): Mean AP x 100 of the classes that have objects.
        ap50 (float): The same at an IoU of 0.5.
        classes (tuple[ClassAP, ...]): Each of these classes.
    """

    ap: float
    ap50: float
    classes: tuple[ClassAP, ...]


@dataclass(frozen=True)
class EvaluateResult:
    """What ``s4m evaluate`` computed.

    Attributes:
        networks (dict[str, NetworkAP]): By the name of the network.
        images (int): Number of images that were predicted.
        objects (int): Number of their objects of the run's classes.
        notes (tuple[str, ...]): What was left out, a line each.
    """

    networks: dict[str, NetworkAP]
    images: int
    objects: int
    notes: tuple[str, ...]


def evaluate(
    run: str | os.PathLike,
    labels: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    network: str | None = None,
    device: str | None = None,
) -> EvaluateResult:
    """Compute the mask AP of a run's networks on labelled images.

    Classes are matched by their names. The AP is COCO's, and counts as many
    predictions of an image as the run's validation.

    Args:
        run: Folder that ``s4m train --out`` named.
        labels: Labels in a format of :mod:`s4m.datasets.formats`.
        images: Folder of the images. Defaults to None, the place that the
            labels name, or beside them.
        network (str, optional): ``supervised``, ``student`` or ``teacher``.
            Defaults to None, all networks of the run.
        device (str, optional): ``cuda:0``, ``cpu`` ... Defaults to None, a
            GPU if there is one.

    Returns:
        EvaluateResult: APs, numbers and notes.

    Raises:
        FileNotFoundError: if there is no run, model, labels or images.
        ValueError: if the network is unknown, an image cannot be read, or
            the labels have no object of a class of the run.

    Example::

        from s4m.apis.own_data import evaluate

        result = evaluate('runs/apples', 'test.json', images='test/')
        result.networks['student'].ap  # 41.7
    """
    folder = open_run(run)
    if network is None:
        # Reports a run without a model.
        choose_network(folder)
        chosen = [choose_network(folder, n) for n in network_names(folder)]
    else:
        chosen = [choose_network(folder, network)]
    known = read_labels(labels, images)
    classes = folder.read()['classes']
    truth, notes = _of_classes(known, classes, run, labels)
    files = [known.root / image['file_name'] for image in truth['images']]
    max_dets = max_detections(get_config(folder.config))
    networks = {
        one.name: mask_ap(truth, _predict(one, files, truth, device), max_dets)
        for one in chosen
    }
    return EvaluateResult(
        networks,
        len(files),
        sum(not a.get('iscrowd', 0) for a in truth['annotations']),
        (*known.notes, *notes),
    )


def _of_classes(
    labels: LabelledSet,
    classes: Sequence[str],
    run: str | os.PathLike,
    file: str | os.PathLike,
) -> tuple[dict[str, Any], list[str]]:
    """Return the labels with the run's classes, ids from 1 in their order."""
    names = {c['id']: c['name'] for c in labels.categories}
    ids = {name: k for k, name in enumerate(classes, 1)}
    kept = [
        dict(a, category_id=ids[names[a['category_id']]])
        for a in labels.annotations
        if names[a['category_id']] in ids
    ]
    if not kept:
        raise ValueError(
            f'{file} has no object of a class of {run}: it has '
            f'{sorted(names.values())}, the run {list(classes)}'
        )
    others = Counter(
        names[a['category_id']]
        for a in labels.annotations
        if names[a['category_id']] not in ids
    )
    notes = [
        f'{number} objects of the class {name!r} are left out: the run does '
        'not know it'
        for name, number in others.items()
    ]
    without = set(classes) - {classes[a['category_id'] - 1] for a in kept}
    notes += [
        f'the class {name!r} has no object and no AP'
        for name in classes
        if name in without
    ]
    data = dict(
        images=labels.images,
        annotations=[dict(a, id=number) for number, a in enumerate(kept, 1)],
        categories=[dict(id=k, name=name) for name, k in ids.items()],
    )
    return data, notes


@torch.no_grad()
def _predict(
    network: Network,
    files: Sequence[Path],
    truth: dict[str, Any],
    device: str | None,
) -> list[dict]:
    """Predict the images; return annotations."""
    cfg = get_config(network.config)
    device = device or get_device()
    model, classes = load_model(
        cfg, network.checkpoint, device, network.branch
    )
    broken: list[Path] = []
    found: list[dict] = []
    category_ids = list(range(1, len(classes) + 1))
    photos = Photos(files, cfg.test_dataloader.dataset.pipeline)
    for (photo,) in read_batches(photos, 1, broken, device):
        (sample,) = model.test_step(pseudo_collate([photo.packed]))
        image = truth['images'][sample.img_id]
        found += instance_annotations(
            sample.pred_instances, image['id'], category_ids
        )
    if broken:
        # The AP of the other images would be the AP of another test set.
        raise ValueError(
            f'{len(broken)} of {len(files)} labelled images cannot be read, '
            f'such as {broken[0]}: remove them from the labels'
        )
    return found


def mask_ap(
    truth: dict[str, Any], found: Sequence[dict], max_dets: int = 100
) -> NetworkAP:
    """Compute COCO's mask AP, overall and of each class.

    Args:
        truth (dict): COCO dictionary of the labels.
        found (Sequence[dict]): Predictions, as annotations with ``score``.
        max_dets (int): Number of an image's best predictions that count.
            Defaults to 100.

    Example::

        mask_ap(read_coco('test.json'), predictions).classes[0].ap
    """
    images_of = {
        c['id']: {
            a['image_id']
            for a in truth['annotations']
            if a['category_id'] == c['id'] and not a.get('iscrowd', 0)
        }
        for c in truth['categories']
    }
    objects_of = Counter(
        a['category_id']
        for a in truth['annotations']
        if not a.get('iscrowd', 0)
    )
    present = [c for c in truth['categories'] if images_of[c['id']]]
    ap = np.zeros((2, len(present)))
    if found and present:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = truth
            coco.createIndex()
            ev = fastest_evaluation()(
                coco, coco.loadRes([dict(a) for a in found]), 'segm'
            )
            ev.params.catIds = [c['id'] for c in present]
            ev.params.imgIds = [i['id'] for i in truth['images']]
            ev.params.maxDets = [max_dets]
            ev.evaluate()
            ev.accumulate()
        # IoU thresholds, recalls, classes; all areas; max_dets.
        precision = np.asarray(ev.eval['precision'])[:, :, :, 0, -1]
        ap[0] = 100 * precision.mean((0, 1))
        ap[1] = 100 * precision[0].mean(0)
    rows = tuple(
        ClassAP(
            c['name'],
            len(images_of[c['id']]),
            objects_of[c['id']],
            float(all_ious),
            float(at_50),
        )
        for c, all_ious, at_50 in zip(present, *ap, strict=True)
    )
    overall, at_50 = ap.mean(1) if present else (0.0, 0.0)
    return NetworkAP(float(overall), float(at_50), rows)
