# SPDX-License-Identifier: Apache-2.0
"""Generate Shapes, an instance segmentation data set in Cityscapes' layout.

    python tools/dataset_converters/make_shapes.py --out data/shapes \
        --train 400 --val 200 --size 128x256 --seed 0

Each of Cityscapes' eight instance classes is one family of outlines, drawn
with occlusion, texture, lighting and noise on a textured ground under a sky.
The class shows in the outline and, less surely, in the hue. Written
are ``leftImg8bit/{train,val}/<city>/*_leftImg8bit.png`` and
``gtFine/{train,val}/<city>/*_gtFine_{instanceIds,labelIds}.png`` and
``*_polygons.json``, with Cityscapes' label ids, so that the tools for
Cityscapes work on it as they are. Nothing depends on the number of workers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

#: Name, Cityscapes label id and preferred hue (degrees) of each class.
CLASSES = (
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
#: One city name per 100 images, as Cityscapes groups its images.
CITIES = {'train': 'shapeville', 'val': 'polygonstadt'}

# Objects are drawn at this multiple of the output size and averaged down.
OVERSAMPLING = 2
#: Visible pixels below which an object is hardly ever left, at 128 x 256.
MIN_VISIBLE = 150


# ---------------------------------------------------------------- outlines
def _arc(center, radius, start, stop, num=24) -> np.ndarray:
    """Points on an ellipse, angles in degrees, y pointing down."""
    t = np.radians(np.linspace(start, stop, num))
    return np.stack(
        [
            center[0] + radius[0] * np.cos(t),
            center[1] + radius[1] * np.sin(t),
        ],
        1,
    )


def outline(name: str, rng: np.random.Generator) -> np.ndarray:
    """Outline of one object of a class.

    Args:
        name (str): Class name.
        rng (np.random.Generator): Draws the proportions.

    Returns:
        np.ndarray: (N, 2) polygon within about [-1, 1] squared.
    """
    u = rng.uniform
    if name == 'person':  # a keyhole: round head on a widening body
        head, foot = u(0.28, 0.36), u(0.35, 0.5)
        return np.concatenate(
            [
                _arc((0, -0.65), (head, 0.35), 120, 420),
                [[foot, 1.0], [-foot, 1.0]],
            ]
        )
    if name == 'rider':  # a crescent
        depth = u(0.35, 0.6)
        return np.concatenate(
            [
                _arc((0, 0), (0.95, 0.95), -80, 260),
                _arc((0, -depth), (0.72, 0.8), 235, -55),
            ]
        )
    if name == 'car':  # a flat box with a dome
        roof = u(0.4, 0.6)
        return np.concatenate(
            [
                [[-1.0, 0.6], [-1.0, 0.05]],
                _arc((u(-0.15, 0.15), 0.05), (roof, 0.6), 180, 360),
                [[1.0, 0.05], [1.0, 0.6]],
            ]
        )
    if name == 'truck':  # an L: a tall box and a low cab
        step, cab = u(0.1, 0.4), u(-0.1, 0.2)
        return np.array(
            [
                [-1, -0.75],
                [step, -0.75],
                [step, cab],
                [1, cab],
                [1, 0.75],
                [-1, 0.75],
            ]
        )
    if name == 'bus':  # a plain, long box
        half = u(0.42, 0.55)
        return np.array([[-1, -half], [1, -half], [1, half], [-1, half]])
    if name == 'train':  # an arrow with a notched tail
        half, notch = u(0.35, 0.45), u(0.3, 0.5)
        return np.array(
            [
                [-1, -half],
                [0.5, -half],
                [1, 0],
                [0.5, half],
                [-1, half],
                [-1 + notch, 0],
            ]
        )
    if name == 'motorcycle':  # a five-pointed star
        inner = u(0.4, 0.5)
        angles = np.radians(np.arange(10) * 36 - 90)
        radius = np.where(np.arange(10) % 2 == 0, 1.0, inner)
        return np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)
    if name == 'bicycle':  # a dumbbell: two discs and a bar
        disc, bar = u(0.4, 0.48), u(0.1, 0.16)
        cut = np.degrees(np.arcsin(bar / disc))
        return np.concatenate(
            [
                _arc((-0.55, 0), (disc, disc), cut, 360 - cut),
                _arc((0.55, 0), (disc, disc), 180 + cut, 540 - cut),
            ]
        )
    raise ValueError(f'unknown class {name!r}')


# ----------------------------------------------------------------- surface
def _noise(rng, height: int, width: int, cell: float) -> np.ndarray:
    """(height, width) smooth noise in 0..1 with cells of ``cell`` pixels."""
    shape = max(2, int(height / cell) + 1), max(2, int(width / cell) + 1)
    coarse = rng.random(shape, dtype=np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return fine.clip(0, 1)


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    pixel = np.array([[[hue % 360, saturation, value]]], np.float32)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0]


def _pattern(rng, xx, yy, period: float) -> np.ndarray:
    """Stripes, checks, dots or grain in 0..1 at the given pixels."""
    angle = rng.uniform(0, np.pi)
    a = (np.cos(angle) * xx + np.sin(angle) * yy) * (2 * np.pi / period)
    b = (np.cos(angle) * yy - np.sin(angle) * xx) * (2 * np.pi / period)
    kind = rng.integers(4)
    if kind == 0:
        return 0.5 + 0.5 * np.sin(a)
    if kind == 1:
        return (np.sin(a) * np.sin(b) > 0).astype(np.float32)
    if kind == 2:
        return (np.cos(a) + np.cos(b) > 0.9).astype(np.float32)
    return rng.random(xx.shape, dtype=np.float32)


def _paint(image, box, mask, hue, rng, unit: float) -> None:
    """Fill ``mask``, which lies at ``box``, with a textured surface."""
    x0, y0, x1, y1 = box
    yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    value = rng.uniform(0.35, 0.95)
    one = _rgb(hue, rng.uniform(0.4, 0.9), value)
    two = _rgb(
        hue + rng.normal(0, 8),
        rng.uniform(0.4, 0.9),
        np.clip(value + rng.choice([-1, 1]) * rng.uniform(0.05, 0.2), 0.2, 1),
    )
    t = _pattern(rng, xx, yy, unit * rng.uniform(0.03, 0.08))[..., None]
    surface = one * (1 - t) + two * t
    shade = 1 + rng.uniform(-0.3, 0.3) * (xx - x0) / max(1, x1 - x0)
    shade = shade + rng.uniform(-0.3, 0.3) * (yy - y0) / max(1, y1 - y0)
    region = image[y0:y1, x0:x1]
    region[mask] = (surface * shade[..., None])[mask]


def _background(rng, height: int, width: int, horizon: int) -> np.ndarray:
    unit = height
    image = np.empty((height, width, 3), np.float32)
    for rows, hue in (
        (slice(0, horizon), rng.uniform(170, 260)),
        (slice(horizon, height), rng.uniform(0, 360)),
    ):
        num = rows.stop - rows.start
        one = _rgb(hue, rng.uniform(0.05, 0.4), rng.uniform(0.3, 0.8))
        two = _rgb(
            hue + rng.normal(0, 40),
            rng.uniform(0.05, 0.5),
            rng.uniform(0.3, 0.8),
        )
        t = _noise(rng, num, width, unit * rng.uniform(0.08, 0.4))
        t = 0.7 * t + 0.3 * _noise(rng, num, width, unit * 0.03)
        image[rows] = one * (1 - t[..., None]) + two * t[..., None]
    # Clutter that is no object: thin lines and flat patches.
    for _ in range(rng.integers(2, 8)):
        color = tuple(float(c) for c in rng.uniform(0.2, 0.8, 3))
        ends = rng.uniform(0, 1, (2, 2)) * [width, height]
        cv2.line(
            image,
            tuple(ends[0].astype(int).tolist()),
            tuple(ends[1].astype(int).tolist()),
            color,
            max(1, int(unit * rng.uniform(0.005, 0.02))),
            cv2.LINE_AA,
        )
    return image


# ------------------------------------------------------------------ scenes
def _place(name, scale, rng, height, width) -> np.ndarray:
    """Polygon of an object of half-size ``scale`` pixels somewhere."""
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
    """Box and mask of the part of a polygon inside the image, or None."""
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


def make_scene(
    rng: np.random.Generator, height: int, width: int
) -> dict[str, np.ndarray | list]:
    """One image with its annotations.

    Args:
        rng (np.random.Generator): All of the scene's randomness.
        height (int): in pixels.
        width (int): in pixels.

    Returns:
        dict: ``image`` (H, W, 3) uint8 RGB, ``instance_ids`` (H, W) uint16
        (Cityscapes: label id * 1000 + n, label id alone for stuff and
        groups), ``label_ids`` (H, W) uint8, ``objects`` (list of label and
        polygon, back to front).
    """
    s = OVERSAMPLING
    big_h, big_w = height * s, width * s
    horizon = int(big_h * rng.uniform(0.25, 0.5))
    image = _background(rng, big_h, big_w, horizon)
    # Larger than any Cityscapes id; -1 and -2 are sky and road.
    owner = np.full((big_h, big_w), -2, np.int32)
    owner[:horizon] = -1

    plan = []  # class index, group number or -1
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
            if group >= 0:  # a heap of small ones that nobody told apart
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
            # Reject what hardly shows, or would hide another too much.
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
                _paint(image, box, mask, hue, rng, big_h)
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
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    image += rng.normal(0, rng.uniform(0.01, 0.05), image.shape)
    image = (image.clip(0, 1) * 255).round().astype(np.uint8)

    # A pixel belongs to what covers its centre.
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


def _write(job, out: Path, height: int, width: int, seed: int) -> None:
    split, n = job
    rng = np.random.default_rng([seed, ('train', 'val').index(split), n])
    scene = make_scene(rng, height, width)
    city = CITIES[split]
    stem = f'{city}_{n:06d}_000019'
    pictures = out / 'leftImg8bit' / split / city
    truth = out / 'gtFine' / split / city
    cv2.imwrite(
        str(pictures / f'{stem}_leftImg8bit.png'), scene['image'][..., ::-1]
    )
    cv2.imwrite(
        str(truth / f'{stem}_gtFine_instanceIds.png'), scene['instance_ids']
    )
    cv2.imwrite(str(truth / f'{stem}_gtFine_labelIds.png'), scene['label_ids'])
    polygons = dict(imgHeight=height, imgWidth=width, objects=scene['objects'])
    (truth / f'{stem}_gtFine_polygons.json').write_text(json.dumps(polygons))


def make_shapes(
    out: Path,
    train: int,
    val: int,
    size: tuple[int, int],
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Write the data set; ``out`` appears only when it is complete.

    Args:
        out (Path): Folder to make.
        train (int): Number of training images.
        val (int): Number of validation images.
        size (tuple[int, int]): (height, width) in pixels.
        seed (int): Same seed, same bytes.
        workers (int, optional): Processes; the cores by default.

    Raises:
        FileExistsError: if ``out`` is there already.
    """
    if out.exists():
        raise FileExistsError(f'{out} exists; remove it or name another --out')
    partial_dir = out.with_name(out.name + '.partial')
    shutil.rmtree(partial_dir, ignore_errors=True)
    jobs = []
    for split, num in (('train', train), ('val', val)):
        for kind in ('leftImg8bit', 'gtFine'):
            (partial_dir / kind / split / CITIES[split]).mkdir(parents=True)
        jobs += [(split, n) for n in range(num)]
    height, width = size
    write = partial(
        _write, out=partial_dir, height=height, width=width, seed=seed
    )
    with ProcessPoolExecutor(workers) as pool:
        done = pool.map(write, jobs, chunksize=4)
        for _ in track(done, 'Shapes', total=len(jobs)):
            pass
    os.replace(partial_dir, out)


def parse_size(text: str) -> tuple[int, int]:
    """``HxW`` to (height, width)."""
    try:
        height, width = (int(v) for v in text.lower().split('x'))
    except ValueError:
        height = width = 0
    if height < 32 or width < 32:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not HEIGHTxWIDTH with 32 pixels or more each'
        )
    return height, width


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, default=Path('data/shapes'))
    parser.add_argument('--train', type=int, default=400)
    parser.add_argument('--val', type=int, default=200)
    parser.add_argument('--size', type=parse_size, default='128x256')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int)
    args = parser.parse_args()
    make_shapes(
        args.out, args.train, args.val, args.size, args.seed, args.workers
    )


if __name__ == '__main__':
    main()
