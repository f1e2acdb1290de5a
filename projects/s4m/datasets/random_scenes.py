# SPDX-License-Identifier: Apache-2.0
"""Draw endless class-agnostic scenes with prompts for a segmenter.

The scenes do not contain Shapes' classes: outlines are random (Fourier blobs,
star polygons, ellipses, strokes) and so are textures (smooth noise, blotches,
cells, gradients).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from .shapes_drawing import shrink

#: Side of a scene in pixels.
SIDE = 256
#: Number of visible pixels of the smallest object that gets a prompt.
MIN_PIXELS = 200
#: Families of outlines; the prompted scenes have the first four.
FAMILIES = (
    'blob',
    'star polygon',
    'ellipse',
    'stroke',
    'flower',
    'drop',
    'cross',
    'wedge',
)
Batch = dict[str, torch.Tensor]


def smooth_noise(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw (side, side) noise in 0..1 of a random correlation length."""
    cells = int(np.exp(rng.uniform(np.log(3), np.log(64))))
    coarse = rng.random((cells, cells), np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def _cells(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw (side, side) Voronoi cells, each with a random grey."""
    num = int(rng.integers(20, 120))
    points = rng.random((num, 2), np.float32) * side
    seeds = np.full((side, side), 255, np.uint8)
    seeds[points[:, 1].astype(int), points[:, 0].astype(int)] = 0
    _, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_CCOMP
    )
    return rng.random(labels.max() + 1, np.float32)[labels]


def texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw a (side, side, 3) fp32 surface in 0..1 around one base colour."""
    base = rng.random(3, np.float32)
    other = base + rng.normal(0, rng.choice([0.05, 0.15, 0.3]), 3)
    kind = rng.integers(4)
    if kind == 0:
        t = smooth_noise(rng, side)
    elif kind == 1:
        t = (smooth_noise(rng, side) > 0.5).astype(np.float32)
    elif kind == 2:
        t = _cells(rng, side)
    else:
        angle = rng.random() * 2 * np.pi
        ramp = np.linspace(0, 1, side, dtype=np.float32)
        t = np.cos(angle) * ramp[None] + np.sin(angle) * ramp[:, None]
    t = t[..., None]
    return (base * (1 - t) + other.astype(np.float32) * t).astype(np.float32)


def outline(rng: np.random.Generator, family: int | None = None) -> np.ndarray:
    """Draw a closed outline within about the unit circle.

    Args:
        rng (np.random.Generator): Source of all random numbers.
        family (int, optional): Index in :data:`FAMILIES`. Defaults to None,
            which draws one of the first four.

    Returns:
        np.ndarray: (N, 2) polygon.
    """
    if family is None:
        family = int(rng.integers(4))
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    name = FAMILIES[family]
    if name == 'blob':
        radius = np.ones_like(angles)
        for k in range(2, 7):
            amplitude = rng.normal(0, 0.35 / k)
            radius += amplitude * np.cos(k * angles + rng.random() * 6.3)
        radius = np.clip(radius, 0.25, 1.6)
    elif name == 'star polygon':
        angles = np.sort(rng.random(int(rng.integers(4, 10)))) * 2 * np.pi
        radius = rng.uniform(0.5, 1.2, len(angles))
    elif name == 'ellipse':
        radius = np.ones_like(angles)
    elif name == 'stroke':
        t = np.linspace(-1, 1, 24)
        bend = rng.normal(0, 0.5) * t**2 + rng.normal(0, 0.3) * t
        width = rng.uniform(0.15, 0.35)
        spine = np.stack([t, bend], 1)
        side = np.array([0, width])
        return np.concatenate([spine + side, spine[::-1] - side])
    elif name == 'flower':
        depth, petals = rng.uniform(0.2, 0.4), int(rng.integers(3, 8))
        radius = 1 - depth + depth * np.cos(petals * angles)
    elif name == 'drop':
        radius = 0.75 * np.ones_like(angles)
        tip = np.abs(angles - np.pi) < rng.uniform(0.2, 0.6)
        angles, radius = angles[~tip], radius[~tip]
        middle = int((angles < np.pi).sum())
        angles = np.insert(angles, middle, np.pi)
        radius = np.insert(radius, middle, rng.uniform(1.1, 1.5))
    elif name == 'cross':
        w = rng.uniform(0.2, 0.4)
        arm = np.array([[1, -w], [1, w], [w, w]])
        quarter = np.array([[0, 1], [-1, 0]])  # (x, y) to (-y, x)
        turns = [np.linalg.matrix_power(quarter, k) for k in range(4)]
        return np.concatenate([arm @ turn for turn in turns])
    else:  # wedge
        open_ = rng.uniform(0.6, 2.2)
        angles = np.linspace(open_ / 2, 2 * np.pi - open_ / 2, 48)
        angles = np.append(angles, 0.0)
        radius = np.append(np.ones(48), rng.uniform(0, 0.2))
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)


def render_scene(
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    Args:
        rng (np.random.Generator): Source of all random numbers.

    Returns:
        tuple: (256, 256, 3) uint8 RGB and (256, 256) uint8 instance map, 0
        for the background.
    """
    image = texture(rng, SIDE)
    ids = np.zeros((SIDE, SIDE), np.uint8)
    for k in range(1, int(rng.integers(5, 15)) + 1):
        shape = outline(rng)
        scale = np.exp(rng.uniform(np.log(9), np.log(70)))
        stretch = np.exp(rng.normal(0, 0.35, 2))
        turn = rng.random() * 2 * np.pi
        rotation = np.array(
            [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        )
        points = shape @ rotation.T * scale * stretch
        points += rng.uniform(0, SIDE, 2)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
        inside = mask.astype(bool)
        image[inside] = texture(rng, SIDE)[inside]
        ids[inside] = k
    ramp = np.linspace(-0.5, 0.5, SIDE, dtype=np.float32)
    light = (
        1
        + rng.normal(0, 0.3) * ramp[None]
        + rng.normal(0, 0.3) * ramp[:, None]
    )
    image *= light[..., None]
    # Small or wide pictures that are stretched to the model's square input
    # have a low resolution in one or both axes.
    size = [int(SIDE / s) for s in rng.choice([1, 1, 1.5, 2], 2)]
    small = shrink(image, (size[0], size[1]))
    small += rng.normal(0, rng.uniform(0.0, 0.06), small.shape)
    image = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return (image.clip(0, 1) * 255).astype(np.uint8), ids


def make_batch(
    rng: np.random.Generator, num_images: int, num_masks: int, num_points: int
) -> Batch:
    """Draw scenes with prompts.

    Args:
        rng (np.random.Generator): Source of all random numbers.
        num_images (int): Number B of scenes.
        num_masks (int): Maximum number of objects with prompts in a scene.
        num_points (int): Number P of points on an object.

    Returns:
        dict: ``rgb`` (B, 3, S, S) uint8, ``masks`` (N, S, S) bool, ``points``
        (N, P, 2) and ``boxes`` (N, 4) in pixels, ``image_ids`` (N, ).
        Objects with fewer than 200 visible pixels get no prompt.
    """
    rgb, masks, points, boxes, image_ids = [], [], [], [], []
    for i in range(num_images):
        image, ids = render_scene(rng)
        rgb.append(torch.from_numpy(image).permute(2, 0, 1))
        sizes = np.bincount(ids.ravel())
        objects = np.flatnonzero(sizes >= MIN_PIXELS)
        objects = rng.permutation(objects[objects > 0])[:num_masks]
        for k in objects:
            mask = ids == k
            y, x = np.nonzero(mask)
            pick = rng.choice(len(y), num_points, replace=False)
            points.append(np.stack([x[pick], y[pick]], 1))
            jitter = rng.normal(0, 0.03, 4) * np.tile(
                [np.ptp(x) + 1, np.ptp(y) + 1], 2
            )
            box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
            boxes.append(box + jitter)
            masks.append(torch.from_numpy(mask))
            image_ids.append(i)
    return dict(
        rgb=torch.stack(rgb),
        masks=torch.stack(masks),
        points=torch.from_numpy(np.stack(points)).float(),
        boxes=torch.from_numpy(np.stack(boxes)).float(),
        image_ids=torch.tensor(image_ids),
    )


def held_out_batches(num: int = 24) -> Iterator[Batch]:
    """Draw batches of scenes from seeds that training never draws."""
    for i in range(num):
        yield make_batch(np.random.default_rng([2, i]), 4, 16, 3)


def _read(file: str, flags: int) -> np.ndarray:
    """Read an image, or raise a ValueError with its name."""
    image = cv2.imread(file, flags)
    if image is None:
        raise ValueError(f'{file} cannot be read as an image')
    return image


def shapes_batches(
    root: str | os.PathLike, min_pixels: int = MIN_PIXELS
) -> Iterator[Batch]:
    """Prompt the objects of Shapes' validation images.

    Args:
        root: Folder of a Shapes data set.
        min_pixels (int): Pixels of the smallest object, at the segmenter's
            input size of 256 x 256. Defaults to 200.

    Yields:
        dict: A batch of one image, see :func:`make_batch`.

    Raises:
        FileNotFoundError: if the validation images do not exist.
        ValueError: if a file is missing or cannot be read as an image.
    """
    root = Path(root)
    files = sorted((root / 'gtFine' / 'val').glob('*/*_instanceIds.png'))
    if not files:
        raise FileNotFoundError(
            f'{root} has no gtFine/val: run tools/dataset_converters/'
            'make_shapes.py first'
        )
    for n, file in enumerate(files):
        rng = np.random.default_rng([3, n])
        ids = _read(str(file), cv2.IMREAD_UNCHANGED)
        picture = str(file).replace('gtFine_instanceIds', 'leftImg8bit')
        picture = picture.replace('gtFine', 'leftImg8bit')
        image = _read(picture, cv2.IMREAD_COLOR)[..., ::-1]
        scale = SIDE * SIDE / ids.size
        masks, points, boxes = [], [], []
        for k in np.unique(ids[ids >= 1000]):
            mask = ids == k
            if mask.sum() * scale < min_pixels:
                continue
            y, x = np.nonzero(mask)
            pick = rng.choice(len(y), 3, replace=False)
            points.append(np.stack([x[pick], y[pick]], 1))
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
            masks.append(mask)
        if masks:
            yield dict(
                rgb=torch.from_numpy(image.copy()).permute(2, 0, 1)[None],
                masks=torch.from_numpy(np.stack(masks)),
                points=torch.tensor(np.stack(points)).float(),
                boxes=torch.tensor(np.array(boxes)).float(),
                image_ids=torch.zeros(len(masks), dtype=torch.long),
            )
