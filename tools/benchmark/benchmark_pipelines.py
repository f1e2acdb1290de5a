# SPDX-License-Identifier: Apache-2.0
"""Measure images per second of the training pipelines and of MMDet's.

    python tools/benchmark/benchmark_pipelines.py

Reads frames of 2048 x 1024 pixels with 20 objects, as RLE (Cityscapes) or
polygons (COCO), through a data loader with one worker:

* one step: the config's pipeline, ``LoadLazyAnnotations`` and ``ResizeCrop``;
* two steps: MMDet's ``LoadAnnotations``, resizing and ``RandomCrop`` in the
  same places, with OpenCV or with Pillow;
* loading: reading and decoding the file, which every pipeline does.

All take turns in one process, since machines are noisy. The frames are
random.

With ``--steps`` it measures, instead, the steps of S4M's labelled and
unlabelled pipeline in this process, each the fastest of ``--repeats`` on the
same random numbers, and what the collated sample costs a worker to pickle.
"""

from __future__ import annotations

import json
import pickle
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from pycocotools import mask as mask_utils
from s4m.apis.cli import make_parser, one_line_errors
from s4m.apis.config import get_config
from s4m.utils.random_states import seeded
from torch.utils.data import DataLoader

CONFIGS = dict(
    cityscapes='supervised_cityscapes_100p', coco='supervised_coco_100p'
)
WIDTH, HEIGHT = 2048, 1024


def make_frames(
    root: Path, num: int, objects: int, polygons: bool, names: list[str]
) -> None:
    """Write PNG frames with texture, and their COCO file.

    Args:
        root (Path): Folder for ``N.png`` and ``ann.json``.
        num (int): Number of frames.
        objects (int): Number of objects in each frame.
        polygons (bool): Whether masks are polygons instead of compressed RLE.
        names (list[str]): Class names.
    """
    rng = np.random.default_rng(0)
    images: list[dict] = []
    annotations: list[dict] = []
    for i in range(num):
        small = rng.integers(0, 256, (HEIGHT // 32, WIDTH // 32, 3), np.uint8)
        frame = cv2.resize(small, (WIDTH, HEIGHT)).astype(np.int16)
        # The noise makes a PNG of some 3 MB, the size of a real frame.
        frame += rng.integers(-1, 2, frame.shape)
        name = f'{i}.png'
        cv2.imwrite(str(root / name), frame.clip(0, 255).astype(np.uint8))
        images.append(dict(id=i, file_name=name, height=HEIGHT, width=WIDTH))
        for _ in range(objects):
            # Radii between a distant pedestrian and a car; small ones prevail.
            radius = 10 * 2 ** rng.uniform(0, 4)
            angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
            reach = radius * rng.uniform(0.7, 1, angle.size)
            center = rng.uniform([0, 0.3 * HEIGHT], [WIDTH, 0.8 * HEIGHT])
            circle = np.stack([np.cos(angle), np.sin(angle)], 1)
            points = center + reach[:, None] * circle
            points = points.clip(0, [WIDTH - 1, HEIGHT - 1])
            polygon = points.reshape(-1).round(2).tolist()
            rle = mask_utils.frPyObjects([polygon], HEIGHT, WIDTH)[0]
            box = mask_utils.toBbox(rle).tolist()
            area = float(mask_utils.area(rle))
            rle['counts'] = rle['counts'].decode()
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=1 + int(rng.integers(len(names))),
                    bbox=box,
                    area=area,
                    iscrowd=0,
                    segmentation=[polygon] if polygons else rle,
                )
            )
    categories = [dict(id=k + 1, name=n) for k, n in enumerate(names)]
    data = dict(images=images, annotations=annotations, categories=categories)
    (root / 'ann.json').write_text(json.dumps(data))


def two_steps(pipeline: list[dict], backend: str) -> list[dict]:
    """Replace the steps of a pipeline by MMDet's transforms."""
    steps = []
    for step in pipeline:
        step = dict(step)
        if step['type'] == 'LoadLazyAnnotations':
            step = dict(type='LoadAnnotations', with_mask=True)
        if step.get('resize_type') != 'ResizeCrop':
            steps.append(step)
            continue
        for key in ('resize_type', 'keep_empty'):
            step.pop(key, None)
        crop_size = step.pop('crop_size')
        steps += [
            dict(step, keep_ratio=True, backend=backend),
            dict(
                type='RandomCrop',
                crop_size=crop_size,
                allow_negative_crop=True,
                recompute_bbox=True,
            ),
        ]
    return steps


def seconds(dataset, num: int) -> float:
    """Measure the seconds that a running worker takes for ``num`` samples."""
    order = [i % len(dataset) for i in range(num + 4)]
    loader = DataLoader(
        dataset, num_workers=1, sampler=order, collate_fn=pseudo_collate
    )
    torch.manual_seed(0)  # seeds the worker, so that scales are equal
    samples = iter(loader)
    for _ in range(4):
        next(samples)
    start = time.perf_counter()
    for _ in samples:
        pass
    return time.perf_counter() - start


def compare(
    name: str, root: Path, frames: int, objects: int, num: int, repeats: int
) -> dict[str, float]:
    """Measure the median images per second of each variant."""
    cfg = get_config(CONFIGS[name]).train_dataloader.dataset
    init_default_scope('mmdet')
    classes = DATASETS.get(cfg.type).METAINFO['classes']
    make_frames(root, frames, objects, name == 'coco', list(classes))
    pipelines = {
        'one step': cfg.pipeline,
        'two steps, Pillow': two_steps(cfg.pipeline, 'pillow'),
        'two steps, OpenCV': two_steps(cfg.pipeline, 'cv2'),
        'loading': [cfg.pipeline[0], dict(type='PackDetInputs')],
    }
    datasets = {
        label: DATASETS.build(
            dict(
                type=cfg.type,
                data_root=str(root),
                ann_file='ann.json',
                data_prefix=dict(img=''),
                pipeline=pipeline,
            )
        )
        for label, pipeline in pipelines.items()
    }
    taken: dict[str, list[float]] = {label: [] for label in datasets}
    for _ in range(repeats):
        for label, dataset in datasets.items():
            taken[label].append(seconds(dataset, num))
    return {k: num / statistics.median(v) for k, v in taken.items()}


def step_times(dataset, num: int, repeats: int) -> dict[str, float]:
    """Measure the milliseconds an image of each step of a pipeline."""
    rows: dict[str, float] = {}
    for draw in range(num):
        best: dict[str, float] = {}
        for _ in range(repeats):
            sample = dataset.get_data_info(draw % len(dataset))
            with seeded((0, 0, draw)):
                for step in dataset.pipeline.transforms:
                    began = time.perf_counter()
                    sample = step(sample)
                    taken = time.perf_counter() - began
                    name = type(step).__name__
                    best[name] = min(taken, best.get(name, taken))
            began = time.perf_counter()
            pickle.dumps(sample, pickle.HIGHEST_PROTOCOL)
            taken = time.perf_counter() - began
            best['pickling'] = min(taken, best.get('pickling', taken))
        for name, taken in best.items():
            rows[name] = rows.get(name, 0) + 1000 * taken / num
    return rows


def print_steps(
    root: Path, frames: int, objects: int, num: int, repeats: int
) -> None:
    """Print the milliseconds of each step of S4M's two pipelines."""
    print('| images | masks | step | ms |\n|---|---|---|---|')
    cfg = get_config('s4m_cityscapes_10p').train_dataloader.dataset
    init_default_scope('mmdet')
    classes = list(DATASETS.get(cfg.labeled.type).METAINFO['classes'])
    for kind, polygons in (
        ('labeled', False),
        ('labeled', True),
        ('unlabeled', False),
    ):
        make_frames(root, frames, objects, polygons, classes)
        part = cfg[kind]
        dataset = DATASETS.build(
            dict(
                type=part.type,
                data_root=str(root),
                ann_file='ann.json',
                data_prefix=dict(img=''),
                pipeline=part.pipeline,
            )
        )
        rows = step_times(dataset, num, repeats)
        rows['all'] = sum(rows.values())
        masks = 'polygons' if polygons else 'RLE'
        for name, taken in rows.items():
            print(f'| {kind} | {masks} | {name} | {taken:.1f} |', flush=True)


@one_line_errors
def main() -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--frames', type=int, default=8)
    parser.add_argument('--objects', type=int, default=20)
    parser.add_argument('--num', type=int, default=40, help='samples a turn')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument(
        '--steps', action='store_true', help='measure each step'
    )
    args = parser.parse_args()
    if args.steps:
        cv2.setNumThreads(0)
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as root:
            print_steps(
                Path(root), args.frames, args.objects, args.num, args.repeats
            )
        return
    print('| pipeline | variant | images/s | ratio |\n|---|---|---|---|')
    for name in CONFIGS:
        with tempfile.TemporaryDirectory() as root:
            rows = compare(
                name,
                Path(root),
                args.frames,
                args.objects,
                args.num,
                args.repeats,
            )
        first = rows['one step']
        for label, rate in rows.items():
            ratio = f'{first / rate:.2f}'
            print(f'| {name} | {label} | {rate:.1f} | {ratio} |', flush=True)


if __name__ == '__main__':
    main()
