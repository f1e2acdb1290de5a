# SPDX-License-Identifier: Apache-2.0
"""Compare Cityscapes' AP of one image with MMDet's way through PNG files.

The image has 40 objects, 6 groups and void regions; 100 predictions have
ragged edges and some stray pixels, as those of a network have.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.evaluation import CityScapesMetric
from s4m.evaluation import CityscapesInstanceMetric
from s4m.evaluation.cityscapes_matches import CLASSES, name2label
from s4m.utils.timing import measure

NUM_OBJECTS, NUM_GROUPS, NUM_PREDICTIONS = 40, 6, 100


def compare(
    size: tuple[int, int], repeats: int, device: str, **_
) -> dict[str, dict[str, float]]:
    """Measure times and memory by the name of the variant.

    Args:
        size (tuple[int, int]): (H, W) of the image.
        repeats (int): Number of turns.
        device (str): Device of the predicted masks.
    """
    with tempfile.TemporaryDirectory() as folder:
        sample = _write(Path(folder), size, device)

        def evaluate(metric: CityScapesMetric) -> None:
            metric.dataset_meta = dict(classes=CLASSES)
            with contextlib.redirect_stdout(io.StringIO()):
                metric.process({}, [sample])
                results.append(metric.evaluate(1)['cityscapes/mAP'])

        results: list[float] = []
        # The first validation of a run also lists the objects of the PNGs.
        stock = CityScapesMetric(f'{folder}/out', folder)
        rows = measure(
            {
                'matches of images': lambda: evaluate(
                    CityscapesInstanceMetric(folder)
                ),
                'PNG files (MMDet), first validation': lambda: evaluate(
                    CityScapesMetric(f'{folder}/new', folder)
                ),
                'PNG files (MMDet), later ones': lambda: evaluate(stock),
            },
            repeats,
        )
    if len(set(results)) != 1:
        raise RuntimeError(f'The variants have different APs: {set(results)}')
    return rows


def _write(folder: Path, size: tuple[int, int], device: str) -> dict:
    """Write a ground truth, and make predictions near it.

    Args:
        folder (Path): Folder of a small data set.
        size (tuple[int, int]): (H, W) of the image.
        device (str): Device of the predicted masks.
    """
    rng = np.random.default_rng(0)
    height, width = size
    ids = np.full(size, 11, np.uint16)  # building
    ids[: height // 3] = 23  # sky
    ids[height // 2 :] = 7  # road
    ids[-height // 10 :] = 1  # ego vehicle, void
    labels = [name2label[str(rng.choice(CLASSES))].id for _ in range(46)]
    for number, label in enumerate(labels):
        group = number < NUM_GROUPS
        ids[_blob(rng, size) > 0] = label if group else label * 1000 + number
    path = folder / 'gtFine/val/city/city_0_0_gtFine_instanceIds.png'
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), ids)
    values = [x for x in np.unique(ids) if x >= 1000]
    masks = np.zeros((NUM_PREDICTIONS, height, width), bool)
    names = []
    for i, mask in enumerate(masks):
        value = values[i % len(values)]
        names.append(CLASSES.index(_name(value // 1000)))
        distance = cv2.GaussianBlur((ids == value) * 1.0, None, 2)
        noise = cv2.resize(
            rng.normal(0, 0.12, (height // 4, width // 4)), (width, height)
        )
        mask[:] = distance + noise > 0.5
    return dict(
        img_path=str(folder / 'leftImg8bit/val/city/city_0_0_leftImg8bit.png'),
        pred_instances=dict(
            labels=torch.tensor(names, device=device),
            scores=torch.from_numpy(rng.random(len(masks))).to(device),
            masks=torch.from_numpy(masks).to(device),
        ),
    )


def _blob(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Draw an ellipse; small ones prevail, as distant objects do.

    Args:
        rng (Generator): Random numbers.
        size (tuple[int, int]): (H, W) of the image.

    Returns:
        ndarray: (H, W), above 0 inside.
    """
    height, width = size
    radius = height / 100 * 2 ** rng.uniform(0, 4)
    y = rng.uniform(0.3, 0.8) * height
    x = rng.uniform(0, width)
    rows, columns = np.ogrid[:height, :width]
    stretch = rng.uniform(0.5, 2)
    return 1 - np.hypot((rows - y) / stretch, columns - x) / radius


def _name(label: int) -> str:
    return next(n for n in CLASSES if name2label[n].id == label)
