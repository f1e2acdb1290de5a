# SPDX-License-Identifier: Apache-2.0
"""Draw endless scenes with labelled instances, the pretext of small networks.

Half of the scenes have a few large, textured objects; the others are crowds of
small ones, as microscopy has them: bright on dark or dark on bright, grey or
stained, touching, blurred, unevenly lit. The classes are the families of
outlines of :mod:`s4m.datasets.random_scenes`, of which none is one of Shapes'.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample, SampleList
from mmengine.structures import InstanceData
from torch import Tensor

from .random_scenes import FAMILIES, outline, smooth_noise, texture

#: Families of a crowd, mostly round ones.
CROWD_FAMILIES = np.array([0.4, 0.08, 0.4, 0.04, 0.03, 0.03, 0.0, 0.02])
#: Visible pixels of the smallest object that is labelled.
LEAST_LARGE, LEAST_CROWD = 40, 12


class PretextScene(NamedTuple):
    """One scene: pixels, which object each pixel shows, and the classes."""

    #: (H, W, 3) uint8 RGB.
    image: np.ndarray
    #: (H, W) uint8, 0 for the background, else 1 + the index of the object.
    ids: np.ndarray
    #: (n, ) indices in :data:`s4m.datasets.random_scenes.FAMILIES`.
    labels: np.ndarray


def _polygon(
    rng: np.random.Generator,
    family: int,
    radius: float,
    centre: np.ndarray,
    stretch: float,
) -> np.ndarray:
    """Draw a turned, stretched outline in fixed point with 4 bits."""
    turn = rng.random() * 2 * np.pi
    c, s = np.cos(turn), np.sin(turn)
    points = outline(rng, family) * np.exp(rng.normal(0, stretch, 2))
    points = points @ np.array([[c, s], [-s, c]]) * radius + centre
    return (points * 16).round().astype(np.int32)


def _fill(ids: np.ndarray, polygon: np.ndarray, value: int) -> None:
    cv2.fillPoly(ids, [polygon], value, shift=4)


def large_scene(
    rng: np.random.Generator, height: int, width: int
) -> PretextScene:
    """Draw 1 to 12 large, textured objects that occlude each other.

    Args:
        rng (np.random.Generator): Source of all random numbers.
        height (int): Height in pixels.
        width (int): Width in pixels.
    """
    side = max(height, width)
    image = texture(rng, side)[:height, :width].copy()
    if rng.random() < 0.5:  # a second ground below a horizon
        row = int(rng.uniform(0.2, 0.8) * height)
        image[row:] = texture(rng, side)[row:height, :width]
    ids = np.zeros((height, width), np.uint8)
    labels = rng.integers(len(FAMILIES), size=int(rng.integers(1, 13)))
    for k, family in enumerate(labels.tolist(), 1):
        radius = np.exp(rng.uniform(np.log(0.08), np.log(0.36))) * height
        centre = rng.random(2) * [width, height]
        mask = np.zeros_like(ids)
        _fill(mask, _polygon(rng, family, radius, centre, 0.25), 1)
        x, y, w, h = cv2.boundingRect(mask)
        if not w:
            continue
        window = slice(y, y + h), slice(x, x + w)
        inside = mask[window].astype(bool)
        surface = texture(rng, max(w, h, 4))[:h, :w]
        image[window][inside] = surface[inside]
        ids[window][inside] = k
    return _finish(rng, image, ids, labels, LEAST_LARGE)


def crowd_scene(
    rng: np.random.Generator, height: int, width: int
) -> PretextScene:
    """Draw many small objects, most of one family, that may touch.

    There are 20 to 100 objects on 192 x 192 pixels, and as many for each
    pixel in a scene of another size.

    Args:
        rng (np.random.Generator): Source of all random numbers.
        height (int): Height in pixels.
        width (int): Width in pixels.
    """
    num = np.exp(rng.uniform(np.log(20), np.log(100)))
    num = int(num * height * width / 192**2) + 1
    cover = rng.uniform(0.08, 0.5)
    mean = np.sqrt(cover * height * width / (num * np.pi))
    radius = np.exp(rng.normal(0, rng.uniform(0.05, 0.4), num)) * mean
    radius = radius.clip(2.5, 20)
    usual = rng.choice(len(FAMILIES), p=CROWD_FAMILIES)
    labels = rng.choice(len(FAMILIES), num, p=CROWD_FAMILIES)
    labels[rng.random(num) < 0.8] = usual
    centres = _apart(rng, radius, height, width)
    stretch = rng.uniform(0.05, 0.35)
    ids = np.zeros((height, width), np.uint8)
    for k in range(num):
        polygon = _polygon(rng, labels[k], radius[k], centres[k], stretch)
        _fill(ids, polygon, k + 1)

    ground, object_ = _two_colours(rng)
    # Objects differ in brightness, and some hardly show.
    strength = rng.normal(1, rng.uniform(0, 0.35), num).clip(0.25, 1.8)
    share: np.ndarray = np.append(0, strength).astype(np.float32)[ids]
    side = max(height, width)
    grain = smooth_noise(rng, side)[:height, :width] - 0.5
    share *= 1 + rng.uniform(0, 0.8) * grain
    sigma = rng.uniform(0.3, 1.6)
    share = cv2.GaussianBlur(share, (0, 0), sigma)
    if rng.random() < 0.3:  # a halo out of focus
        halo = cv2.GaussianBlur(share, (0, 0), rng.uniform(3, 9))
        share = share + rng.uniform(0.1, 0.4) * halo
    image = ground + (object_ - ground) * share[..., None]
    clutter = smooth_noise(rng, side)[:height, :width, None] - 0.5
    image = image + rng.normal(0, 0.12, 3).astype(np.float32) * clutter
    return _finish(rng, image, ids, labels, LEAST_CROWD)


def _apart(
    rng: np.random.Generator, radius: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Draw (n, 2) centres, of which near ones touch but seldom overlap."""
    # Clusters: centres are normal around a few points, or uniform.
    num = len(radius)
    centres = rng.random((num, 12, 2)) * [width, height]
    if rng.random() < 0.4:
        heaps = rng.random((int(rng.integers(1, 6)), 2)) * [width, height]
        spread = rng.uniform(0.1, 0.3) * min(height, width)
        near = heaps[rng.integers(len(heaps), size=num)][:, None]
        centres = near + rng.normal(0, spread, centres.shape)
    near_edge = rng.uniform(0.75, 1.1)
    chosen = np.empty((num, 2))
    for k in range(num):
        gaps = np.linalg.norm(centres[k][:, None] - chosen[None, :k], axis=-1)
        gaps -= near_edge * (radius[k] + radius[:k])
        # The first of twelve places that is free, or else the best.
        worst = np.min(gaps, 1, initial=0.0)
        chosen[k] = centres[k][worst.argmax()]
    return chosen


def _two_colours(
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw (3, ) colours of the ground and the objects of a crowd."""
    kind = rng.random()
    if kind < 0.4:  # fluorescence: grey on black
        ground = np.full(3, rng.uniform(0, 0.15))
        object_ = ground + rng.uniform(0.06, 0.8)
    elif kind < 0.6:  # grey, dark on bright or bright on dark
        ground = np.full(3, rng.uniform(0.1, 0.95))
        contrast = rng.uniform(0.1, 0.5)
        object_ = ground + (contrast if ground[0] < 0.5 else -contrast)
    elif kind < 0.85:  # a stain: dark colour on a bright one
        ground = rng.uniform(0.6, 1.0, 3)
        object_ = ground * rng.uniform(0.25, 0.8, 3)
    else:
        ground, object_ = rng.random((2, 3))
    return ground.astype(np.float32), object_.astype(np.float32)


def _finish(
    rng: np.random.Generator,
    image: np.ndarray,
    ids: np.ndarray,
    labels: np.ndarray,
    least: int,
) -> PretextScene:
    """Add light, blur and noise, and renumber the objects that show."""
    height, width = ids.shape
    light = (
        1
        + rng.normal(0, 0.25) * np.linspace(-0.5, 0.5, width)[None]
        + rng.normal(0, 0.25) * np.linspace(-0.5, 0.5, height)[:, None]
    )
    image = image * light[..., None].astype(np.float32)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0))
    noise = rng.standard_normal(image.shape, np.float32)
    image = image + noise * np.float32(rng.exponential(0.02))
    sizes = np.bincount(ids.ravel(), minlength=len(labels) + 1)[1:]
    shown = sizes >= least
    number = np.zeros(len(labels) + 1, np.uint8)
    number[1:][shown] = np.arange(1, shown.sum() + 1)
    pixels = (image.clip(0, 1) * 255).astype(np.uint8)
    return PretextScene(pixels, number[ids], labels[shown])


def pretext_batch(
    rng: np.random.Generator,
    num_images: int,
    size: tuple[int, int],
    crowd: bool,
) -> tuple[Tensor, SampleList]:
    """Draw a batch for a detector.

    Args:
        rng (np.random.Generator): Source of all random numbers.
        num_images (int): Number B of scenes.
        size (tuple[int, int]): (H, W) in pixels.
        crowd (bool): Whether the scenes are crowds, or else large objects.

    Returns:
        tuple: (B, 3, H, W) uint8 RGB, and a sample for each scene with
        ``gt_instances``: ``labels`` (n, ), bool ``masks`` (n, H, W).
    """
    draw = crowd_scene if crowd else large_scene
    images, samples = [], []
    info = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    info |= dict(batch_input_shape=size, pad_shape=size)
    for _ in range(num_images):
        scene = draw(rng, *size)
        images.append(torch.from_numpy(scene.image).permute(2, 0, 1))
        numbers = torch.arange(1, len(scene.labels) + 1)[:, None, None]
        sample = DetDataSample(metainfo=info)
        sample.gt_instances = InstanceData(
            labels=torch.from_numpy(scene.labels).long(),
            masks=torch.from_numpy(scene.ids)[None] == numbers,
        )
        samples.append(sample)
    return torch.stack(images), samples
