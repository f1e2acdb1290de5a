# SPDX-License-Identifier: Apache-2.0
"""Generate Shapes, an instance segmentation data set in Cityscapes' layout.

Each of Cityscapes' eight instance classes is one family of outlines, drawn
with occlusion, texture, lighting and noise on a textured ground under a sky.
The outline determines the class; the hue is correlated with it.
"""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
from rich.progress import track

from .shapes_drawing import background, outline, paint, shrink

#: Name, Cityscapes label id and preferred hue (degrees) of each class.
CLASSES: tuple[tuple[str, int, float], ...] = (
    ('person', 24, 0),
    ('rider', 25, 45),
    ('car', 26, 90),
    ('truck', 27, 135),
    ('bus', 28, 180),
    ('train', 31, 225),
    ('motorcycle', 32, 270),
    ('bicycle', 33, 315),
)
SKY, ROAD = 23, 7
#: Name of the city of each split, since Cityscapes groups images by cities.
CITIES = {'train': 'shapeville', 'val': 'polygonstadt'}

# Objects are drawn at this multiple of the output size and averaged down.
OVERSAMPLING = 2
#: Minimum number of visible pixels of an object, at 128 x 256.
MIN_VISIBLE = 150


def _place(
    name: str, scale: float, rng: np.random.Generator, height: int, width: int
) -> np.ndarray:
    """Draw the polygon of an object of half-size ``scale`` at random."""
    points = outline(name, rng) * np.exp(rng.normal(0, 0.12, 2))
    if rng.random() < 0.5:
        points[:, 0] *= -1
    turn = rng.normal(0, 0.2)
    rotation = np.array(
        [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    )
    center = rng.uniform([0.03, 0.12], [0.97, 0.92]) * [width, height]
    return points @ rotation.T * scale + center


def _raster(polygon: np.ndarray, height: int, width: int):
    """Return box and mask of a polygon's visible part, None if it is tiny."""
    low = np.floor(polygon.min(0)).astype(int).clip(0)
    high = (np.ceil(polygon.max(0)).astype(int) + 1).clip(
        None, [width, height]
    )
    if (high - low < 2).any():
        return None
    mask = np.zeros((high - low)[::-1], np.uint8)
    # Fixed point with 4 fractional bits.
    shifted = ((polygon - low) * 16).round().astype(np.int32)
    cv2.fillPoly(mask, [shifted], 1, shift=4)
    return (*low, *high), mask.astype(bool)


class Scene(TypedDict):
    """One image of Shapes with its annotations, see :func:`make_scene`."""

    image: np.ndarray
    instance_ids: np.ndarray
    label_ids: np.ndarray
    objects: list[dict]


def make_scene(rng: np.random.Generator, height: int, width: int) -> Scene:
    """Draw one image with its annotations.

    Args:
        rng (np.random.Generator): Source of all random numbers.
        height (int): Height in pixels.
        width (int): Width in pixels.

    Returns:
        Scene: ``image`` (H, W, 3) uint8 RGB, ``instance_ids`` (H, W) uint16
        (label id * 1000 + n as in Cityscapes, only the label id for stuff
        and groups), ``label_ids`` (H, W) uint8, and ``objects`` with label
        and polygon, from back to front.
    """
    s = OVERSAMPLING
    big_h, big_w = height * s, width * s
    horizon = int(big_h * rng.uniform(0.25, 0.5))
    image = background(rng, big_h, big_w, horizon)
    # The index of the object at each pixel; -1 and -2 are sky and road.
    owner = np.full((big_h, big_w), -2, np.int32)
    owner[:horizon] = -1

    plan = []  # pairs of class index, and 1 for a group or -1
    if rng.random() > 0.05:
        for _ in range(rng.integers(3, 9)):
            plan.append((int(rng.integers(len(CLASSES))), -1))
        if rng.random() < 0.12:
            plan.append((int(rng.integers(len(CLASSES))), 1))
    drawn: list[dict] = []
    least = MIN_VISIBLE * (height / 128) ** 2 * s * s
    for index, group in plan:
        name, _, hue = CLASSES[index]
        if rng.random() < 0.05:
            hue = rng.uniform(0, 360)
        else:
            hue = hue + rng.normal(0, 10)
        for _attempt in range(20):
            scale = np.exp(rng.uniform(np.log(0.1), np.log(0.26))) * big_h
            if group >= 0:
                scale *= 0.6
            polygon = _place(name, scale, rng, big_h, big_w)
            polygons = [polygon]
            if group >= 0:  # a heap of small objects with one annotation
                for _ in range(int(rng.integers(2, 5))):
                    more = _place(name, scale, rng, big_h, big_w)
                    shift = rng.normal(0, 0.8, 2) * scale
                    more += polygon.mean(0) - more.mean(0) + shift
                    polygons.append(more)
            parts = [_raster(p, big_h, big_w) for p in polygons]
            if any(p is None for p in parts):
                continue
            trial = owner.copy()
            for (x0, y0, x1, y1), mask in parts:
                trial[y0:y1, x0:x1][mask] = len(drawn)
            new = trial == len(drawn)
            # Reject an object that hardly shows or hides another too much.
            if new.sum() < least:
                continue
            if any(
                left < least or left < 0.35 * drawn[k]['area']
                for k, left in enumerate(
                    np.bincount(trial[trial >= 0], minlength=len(drawn))[:-1]
                )
            ):
                continue
            owner = trial
            for box, mask in parts:
                paint(image, box, mask, hue, rng, big_h)
            drawn.append(
                dict(
                    name=name,
                    group=group >= 0,
                    area=int(new.sum()),
                    polygons=[p / s for p in polygons],
                )
            )
            break

    ramp_x = np.linspace(-0.5, 0.5, big_w, dtype=np.float32)
    ramp_y = np.linspace(-0.5, 0.5, big_h, dtype=np.float32)
    light = 1 + rng.normal(0, 0.35) * ramp_x[None]
    light = light + rng.normal(0, 0.25) * ramp_y[:, None]
    image *= light[..., None]
    image = shrink(image, (width, height))
    image += rng.normal(0, rng.uniform(0.01, 0.05), image.shape)
    image = (image.clip(0, 1) * 255).round().astype(np.uint8)

    # A pixel belongs to the object that covers its centre.
    owner = owner[s // 2 :: s, s // 2 :: s]
    ids = np.empty((height, width), np.uint16)
    ids[owner == -1] = SKY
    ids[owner == -2] = ROAD
    numbers = dict.fromkeys([c[0] for c in CLASSES], 0)
    label_of = {name: label for name, label, _ in CLASSES}
    objects = []
    for k, item in enumerate(drawn):
        name = item['name']
        if item['group']:
            ids[owner == k] = label_of[name]
        else:
            ids[owner == k] = label_of[name] * 1000 + numbers[name]
            numbers[name] += 1
        for polygon in item['polygons']:
            objects.append(
                dict(
                    label=name + ('group' if item['group'] else ''),
                    polygon=polygon.round(2).tolist(),
                )
            )
    label_ids = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
    line = horizon / s
    stuff = [
        dict(
            label='sky', polygon=[[0, 0], [width, 0], [width, line], [0, line]]
        ),
        dict(
            label='road',
            polygon=[[0, line], [width, line], [width, height], [0, height]],
        ),
    ]
    return dict(
        image=image,
        instance_ids=ids,
        label_ids=label_ids,
        objects=stuff + objects,
    )


def _write(
    job: tuple[str, int], out: Path, height: int, width: int, seed: int
) -> None:
    split, n = job
    rng = np.random.default_rng([seed, ('train', 'val').index(split), n])
    scene = make_scene(rng, height, width)
    city = CITIES[split]
    stem = f'{city}_{n:06d}_000019'
    photo = out / 'leftImg8bit' / split / city / f'{stem}_leftImg8bit.png'
    labels = out / 'gtFine' / split / city / f'{stem}_gtFine'
    cv2.imwrite(str(photo), scene['image'][..., ::-1])
    cv2.imwrite(f'{labels}_instanceIds.png', scene['instance_ids'])
    cv2.imwrite(f'{labels}_labelIds.png', scene['label_ids'])
    polygons = dict(imgHeight=height, imgWidth=width, objects=scene['objects'])
    Path(f'{labels}_polygons.json').write_text(json.dumps(polygons))


def make_shapes(
    out: str | os.PathLike,
    *,
    train: int = 400,
    val: int = 200,
    size: tuple[int, int] = (128, 256),
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Write the data set; ``out`` appears only when it is complete.

    The files are ``leftImg8bit/{train,val}/<city>/*_leftImg8bit.png`` and
    ``gtFine/{train,val}/<city>/*_gtFine_{instanceIds,labelIds}.png`` and
    ``*_polygons.json``, with Cityscapes' label ids.

    Args:
        out: Folder to make, which must not exist.
        train (int): Number of training images. Defaults to 400.
        val (int): Number of validation images. Defaults to 200.
        size (tuple[int, int]): (height, width) in pixels. Defaults to
            128 x 256.
        seed (int): The same seed gives the same bytes. Defaults to 0.
        workers (int, optional): Number of processes, on which the result does
            not depend. Defaults to None, the number of cores.

    Raises:
        FileExistsError: if ``out`` exists.
        ValueError: if a side is below 32 pixels.
    """
    height, width = size
    if min(size) < 32:
        raise ValueError(f'{height} x {width} pixels: 32 are needed each way')
    out = Path(out)
    if out.exists():
        raise FileExistsError(f'{out} exists; remove it or name another --out')
    partial_dir = out.with_name(out.name + '.partial')
    shutil.rmtree(partial_dir, ignore_errors=True)
    jobs = []
    for split, num in (('train', train), ('val', val)):
        for kind in ('leftImg8bit', 'gtFine'):
            (partial_dir / kind / split / CITIES[split]).mkdir(parents=True)
        jobs += [(split, n) for n in range(num)]
    write = partial(
        _write, out=partial_dir, height=height, width=width, seed=seed
    )
    with ProcessPoolExecutor(workers) as pool:
        done = pool.map(write, jobs, chunksize=4)
        for _ in track(done, 'Shapes', total=len(jobs)):
            pass
    os.replace(partial_dir, out)


def parse_size(text: str) -> tuple[int, int]:
    """Read ``HEIGHTxWIDTH``.

    Args:
        text (str): Two numbers of pixels, for instance ``128x256``.

    Raises:
        ValueError: if the text has another form, or a side is below 32
            pixels.

    Example:
        >>> parse_size('128x256')
        (128, 256)
    """
    try:
        height, width = (int(v) for v in text.lower().split('x'))
    except ValueError:
        height = width = 0
    if height < 32 or width < 32:
        raise ValueError(
            f'{text!r} is not HEIGHTxWIDTH with 32 pixels or more each'
        )
    return height, width
