# SPDX-License-Identifier: Apache-2.0
"""Images a second that the loader of Cityscapes delivers."""

from __future__ import annotations

import json
import os
import tempfile
import time
import traceback
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.runner import Runner

from s4m.apis.config import get_config

from .report import Report

WORKERS = (1, 4, 8, 16)
NUM_FRAMES, NUM_OBJECTS = 8, 16
_CATEGORIES = (
    (24, 'person'),
    (25, 'rider'),
    (26, 'car'),
    (27, 'truck'),
    (28, 'bus'),
    (31, 'train'),
    (32, 'motorcycle'),
    (33, 'bicycle'),
)


def make_frames(root: Path, size: tuple[int, int]) -> None:
    """Write frames as PNG and their polygons in COCO's format.

    Args:
        root (Path): Folder in Cityscapes' layout.
        size (tuple[int, int]): (H, W) of the frames.
    """
    rng = np.random.default_rng(0)
    height, width = size
    folder = root / 'leftImg8bit/train/town'
    folder.mkdir(parents=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for i in range(NUM_FRAMES):
        coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=1)
        noise = rng.integers(0, 6, image.shape, np.uint8)
        name = f'town/frame_{i}.png'
        cv2.imwrite(str(folder.parent / name), image // 2 + noise)
        images.append(dict(id=i, file_name=name, height=height, width=width))
        for k in range(NUM_OBJECTS):
            angle = np.sort(rng.uniform(0, 2 * np.pi, 40))
            radius = height * rng.uniform(0.03, 0.12)
            radii = radius * rng.uniform(0.7, 1, 40)
            x = rng.uniform(0.15, 0.85) * width + radii * np.cos(angle)
            y = rng.uniform(0.15, 0.85) * height + radii * np.sin(angle)
            polygon = np.stack([x, y], 1).round(1).ravel().tolist()
            left, top = float(x.min()), float(y.min())
            box = [left, top, float(x.max()) - left, float(y.max()) - top]
            annotations.append(
                dict(id=len(annotations) + 1, image_id=i, bbox=box,
                     category_id=_CATEGORIES[k % 8][0], iscrowd=0,
                     area=box[2] * box[3] / 2, segmentation=[polygon])
            )  # fmt: skip
    categories = [dict(id=i, name=name) for i, name in _CATEGORIES]
    both = dict(images=images, categories=categories, annotations=annotations)
    (root / 'labeled.json').write_text(json.dumps(both))
    bare = dict(both, annotations=[])
    (root / 'unlabeled.json').write_text(json.dumps(bare))


def _rate(
    root: Path, kind: str, workers: int, seconds: float, nano: bool
) -> float:
    """Measure images a second of ``labeled``, ``unlabeled`` or ``both``."""
    cfg = get_config('s4m_cityscapes_10p').train_dataloader
    both = cfg.dataset
    for name in ('labeled', 'unlabeled'):
        both[name].data_root = str(root) + '/'
        both[name].ann_file = f'{name}.json'
    if nano:
        _halve_crops(both)
    cfg.num_workers = workers
    cfg.persistent_workers = workers > 0
    if kind != 'both':
        cfg.dataset = both[kind]
        cfg.sampler = dict(type='InfiniteSampler')
        cfg.batch_size = 4
    batches = iter(Runner.build_dataloader(cfg, seed=0))
    # Processes start, and each has batches in stock.
    for _ in range(1 if nano else max(2, 2 * workers)):
        next(batches)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or count == 0:
        next(batches)
        count += 1
    return count * cfg.batch_size / (time.perf_counter() - began)


def _halve_crops(node) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'scales':
                node[key] = [(512, 64), (512, 128)]
            elif key == 'crop_size':
                node[key] = (128, 64)
            else:
                _halve_crops(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _halve_crops(value)


def run(device: torch.device, nano: bool, report: Report) -> None:
    """Measure labelled and unlabelled images with several processes."""
    cpus = os.cpu_count() or 1
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_frames(root, (128, 256) if nano else (1024, 2048))
        for kind in ('both', 'labeled', 'unlabeled'):
            for workers in WORKERS if not nano else (0,):
                if workers > cpus:
                    continue
                try:
                    rate = _rate(
                        root, kind, workers, 0.1 if nano else 1.5, nano
                    )
                    report.add('images a second', images=kind,
                               workers=workers, rate=rate,
                               per_worker=rate / max(workers, 1))  # fmt: skip
                except Exception:
                    report.error(f'{kind} {workers}', traceback.format_exc())
