# SPDX-License-Identifier: Apache-2.0
"""Images and objects that need no data set."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from torch import Tensor

from s4m.structures.masks import occupied_range

#: Branches of a batch by the class of the detector; None is a plain batch.
_BRANCHES = dict(
    SemiInstanceSegmentor=('sup', 'unsup_teacher', 'unsup_student'),
    ContrastiveMask2Former=('sup', 'unsup'),
)


def draw_masks(
    num: int, size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Draw ellipses and rectangles.

    Args:
        num (int): Number of masks.
        size (tuple[int, int]): (H, W).
        generator (torch.Generator): Generator of the host.

    Returns:
        Tensor: (num, H, W) bool; each has pixels.
    """
    height, width = size
    place, extent = torch.rand(2, num, 2, 1, 1, generator=generator)
    # Half sides of 4 to 16 % of the height.
    half = (0.04 + 0.12 * extent) * height + 1
    y = torch.arange(height).view(1, -1, 1) - place[:, 0] * (height - 1)
    x = torch.arange(width).view(1, 1, -1) - place[:, 1] * (width - 1)
    y, x = y / half[:, 0], x / half[:, 1]
    masks = y**2 + x**2 <= 1
    boxes = (y.abs() <= 1) & (x.abs() <= 1)
    masks[::2] = boxes[::2]
    return masks


def make_sample(
    masks: Tensor, num_classes: int, generator: torch.Generator
) -> DetDataSample:
    """Make a sample as a loader does.

    Args:
        masks (Tensor): (n, H, W) bool.
        num_classes (int): Number of classes, which are drawn.
        generator (torch.Generator): Generator of the host.
    """
    size = tuple(masks.shape[-2:])
    out = DetDataSample(
        metainfo=dict(
            img_id=0, img_path='', img_shape=size, ori_shape=size,
            scale_factor=(1.0, 1.0), flip=False,
        )
    )  # fmt: skip
    boxes = torch.zeros(len(masks), 4)
    if len(masks):
        top, bottom = occupied_range(masks.any(2))
        left, right = occupied_range(masks.any(1))
        boxes = torch.cat([left, top, right, bottom], 1).float()
    out.gt_instances = InstanceData(
        labels=torch.randint(num_classes, (len(masks),), generator=generator),
        bboxes=HorizontalBoxes(boxes),
        masks=BitmapMasks(masks.byte().numpy(), *size),
    )
    out.ignored_instances = InstanceData(
        labels=torch.zeros(0, dtype=torch.long),
        bboxes=HorizontalBoxes(torch.zeros(0, 4)),
        masks=BitmapMasks(masks[:0].byte().numpy(), *size),
    )
    return out


def make_batch(
    detector: str,
    counts: tuple[int, int],
    size: tuple[int, int],
    num_classes: int,
    num_objects: int = 20,
    seed: int = 0,
) -> dict[str, Any]:
    """Make a batch of the loader.

    Args:
        detector (str): Class of the detector, which sets the branches.
        counts (tuple[int, int]): Number of labelled and unlabelled images.
        size (tuple[int, int]): (H, W) of the images.
        num_classes (int): Number of classes.
        num_objects (int): Number of objects of a labelled image, and of one
            with pseudo-labels from a file. Defaults to 20.
        seed (int): Seed of the drawing. Defaults to 0.

    Returns:
        dict: ``inputs`` (uint8 BGR images) and ``data_samples``.
    """
    generator = torch.Generator().manual_seed(seed)

    def images(num: int, objects: int) -> tuple[list, list]:
        pixels, samples = [], []
        for _ in range(num):
            masks = draw_masks(objects, size, generator)
            image = torch.randint(
                256, (3, *size), generator=generator, dtype=torch.uint8
            )
            if objects:
                image[:, masks.any(0)] //= 2
            pixels.append(image)
            samples.append(make_sample(masks, num_classes, generator))
        return pixels, samples

    branches = _BRANCHES.get(detector)
    if branches is None:
        inputs, samples = images(sum(counts), num_objects)
        return dict(inputs=inputs, data_samples=samples)
    out: dict[str, Any] = dict(inputs={}, data_samples={})
    for branch in branches:
        labelled = branch in ('sup', 'unsup')
        inputs, samples = images(
            counts[0] if branch == 'sup' else counts[1],
            num_objects if labelled else 0,
        )
        if branch == 'unsup_student':  # the teacher's view in other colours
            inputs = [255 - i for i in out['inputs']['unsup_teacher']]
        out['inputs'][branch] = inputs
        out['data_samples'][branch] = samples
    return out


class ForcedPredictions:
    """Replaces what a teacher predicts, so that pseudo-labels are plausible.

    A teacher with random weights labels no query or each one. It runs as
    before; then the logits of its last layer are replaced, so that ``num``
    queries of an image have an ellipse or a rectangle with certainty and the
    others no object. The labeller, the refiner and copy-paste run unchanged.

    Args:
        labeler (nn.Module): ``QueryPseudoLabeler``, changed in place.
        num (int): Number of pseudo-labels of an image. Defaults to 20.
        seed (int): Seed of the drawing. Defaults to 1.
    """

    def __init__(self, labeler: Any, num: int = 20, seed: int = 1) -> None:
        self.num, self.seed = num, seed
        self.run = labeler.run_teacher
        self.known: dict[tuple, tuple[Tensor, Tensor]] = {}
        object.__setattr__(labeler, 'run_teacher', self)

    def __call__(self, *args) -> tuple[list[Tensor], list[Tensor]]:
        """Run the teacher, and replace its last predictions."""
        classes, masks = self.run(*args)
        last = masks[-1]
        key = (tuple(last.shape), last.dtype, last.device)
        if key not in self.known:
            self.known[key] = self._make(classes[-1], last)
        forced_classes, forced_masks = self.known[key]
        return [*classes[:-1], forced_classes], [*masks[:-1], forced_masks]

    def _make(self, classes: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        batch, queries, height, width = masks.shape
        num = min(self.num, queries)
        logits = torch.full((batch, queries, height, width), -4.0)
        scores = torch.zeros(batch, queries, classes.shape[-1])
        scores[..., -1] = 9.0
        for i in range(batch):
            shapes = draw_masks(num, (height, width), generator)
            logits[i, :num] = shapes * 8.0 - 4.0
            labels = torch.randint(
                classes.shape[-1] - 1, (num,), generator=generator
            )
            scores[i, torch.arange(num), labels] = 18.0
        return scores.to(classes), logits.to(masks)
