# SPDX-License-Identifier: Apache-2.0
"""Train the nano SAM 2 of the demo on random scenes.

The demo needs a promptable segmenter that was trained on other data than
Shapes, as SAM 2 was trained on other data than Cityscapes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4m.datasets.random_scenes import (
    Batch,
    held_out_batches,
    make_batch,
    shapes_batches,
)
from s4m.models.promptable import (
    PromptableSegmenter,
    SAM2Segmenter,
    best_mask,
)
from s4m.models.promptable.sam2_build import VIDEO_ONLY
from s4m.utils.whole_files import write_whole

from .resumable_training import train_steps


def mask_losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Compute SAM's loss of each mask, 20 focal + 1 dice, and its IoU.

    Args:
        logits (Tensor): (N, M, h, w).
        target (Tensor): (N, h, w) soft masks in 0..1.

    Returns:
        tuple[Tensor, Tensor]: (N, M) losses and detached IoUs.
    """
    target = target[:, None].expand_as(logits)
    prob = logits.sigmoid()
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    miss = prob * (1 - target) + (1 - prob) * target
    alpha = 0.25 * target + 0.75 * (1 - target)
    focal = (alpha * miss**2 * bce).mean((2, 3))
    overlap = (prob * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / ((prob + target).sum((2, 3)) + 1)
    with torch.no_grad():
        hard, soft = logits > 0, target > 0.5
        union = (hard | soft).sum((2, 3)).clamp(min=1)
        iou = (hard & soft).sum((2, 3)) / union
    return 20 * focal + dice, iou


def step_loss(
    segmenter: PromptableSegmenter, batch: Batch, box: Tensor
) -> Tensor:
    """Compute the loss of one batch.

    A point prompt gives three masks, of which the one with the least loss is
    trained; a box prompt gives one mask.

    Args:
        segmenter (PromptableSegmenter): The segmenter that trains.
        batch (dict): See :func:`s4m.datasets.random_scenes.make_batch`.
        box (Tensor): (N, ) bool. True prompts an object by its box, False by
            its points.

    Returns:
        Tensor: Mean loss of the N objects, a scalar.
    """
    embeddings = segmenter.encode(batch['rgb'])
    ids, masks = batch['image_ids'], batch['masks'].float()
    total = masks.new_zeros(())
    for part, points, boxes in (
        (~box, batch['points'][~box], None),
        (box, None, batch['boxes'][box]),
    ):
        if not part.any():
            continue
        logits, ious = segmenter.decode(
            embeddings,
            ids[part],
            points=points,
            boxes=boxes,
            multimask=boxes is None,
        )
        logits = F.interpolate(
            logits, scale_factor=2, mode='bilinear', align_corners=False
        )
        target = F.interpolate(
            masks[part][:, None], logits.shape[-2:], mode='area'
        )[:, 0]
        losses, reached = mask_losses(logits, target)
        total = total + losses.min(1).values.sum()
        total = total + F.mse_loss(ious, reached, reduction='none').sum()
    return total / len(ids)


@torch.no_grad()
def mean_iou(
    segmenter: PromptableSegmenter,
    batches: Iterable[Batch],
    num_points: int = 3,
) -> dict[str, float]:
    """Measure the masks of point prompts and of box prompts.

    Args:
        segmenter (PromptableSegmenter): In eval mode.
        batches (Iterable[dict]): Objects with prompts, see
            :func:`s4m.datasets.random_scenes.make_batch`.
        num_points (int): Number of points of a prompt. Defaults to 3.

    Returns:
        dict: number of objects, mean and median IoU of the masks of point
        prompts with the best predicted IoU, and mean IoU of box prompts.
    """
    ious: dict[str, list[Tensor]] = {'points': [], 'boxes': []}
    for batch in batches:
        embeddings = segmenter.encode(batch['rgb'])
        size = batch['masks'].shape[-2:]
        for kind, points, boxes in (
            ('points', batch['points'][:, :num_points], None),
            ('boxes', None, batch['boxes']),
        ):
            logits, _ = best_mask(
                *segmenter.decode(
                    embeddings,
                    batch['image_ids'],
                    points=points,
                    boxes=boxes,
                    multimask=boxes is None,
                )
            )
            mask = F.interpolate(
                logits[:, None], size, mode='bilinear', align_corners=False
            )[:, 0]
            mask, gt = mask > 0, batch['masks']
            inter = (mask & gt).sum((1, 2))
            union = (mask | gt).sum((1, 2)).clamp(min=1)
            ious[kind].append(inter / union)
    iou = torch.cat(ious['points'])
    return dict(
        num_objects=len(iou),
        miou_3_points=round(iou.mean().item(), 4),
        median_iou_3_points=round(iou.median().item(), 4),
        miou_box=round(torch.cat(ious['boxes']).mean().item(), 4),
    )


def image_path_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that images need (not videos), in fp16."""
    return {
        k: v.half() if v.is_floating_point() else v
        for k, v in model.state_dict().items()
        if not k.startswith(VIDEO_ONLY)
    }


def pretrain(
    work_dir: str | os.PathLike = 'work_dirs/nano_sam2',
    *,
    steps: int = 9000,
    images: int = 4,
    masks: int = 8,
    lr: float = 1e-3,
    seed: int = 0,
    quiet: bool = False,
    shapes: str | os.PathLike | None = None,
) -> Path:
    """Train, log every 100 steps, evaluate and save every 1000 steps.

    A stopped training resumes from its last save.

    Args:
        work_dir: Folder of ``last.pt``, ``train_log.jsonl`` and the result.
        steps (int): Number of steps. Defaults to 9000.
        images (int): Number of scenes in a step. Defaults to 4.
        masks (int): Largest number of objects in a scene. Defaults to 8.
        lr (float): Peak learning rate. Defaults to 1e-3.
        seed (int): Seed of weights and scenes. Defaults to 0.
        quiet (bool): Whether to show no progress bar. Defaults to False.
        shapes (optional): Folder of a Shapes data set that the result is
            evaluated on. Defaults to None.

    Returns:
        Path: ``nano_sam2.pt``, with the weights that images need, in fp16.
    """
    torch.manual_seed(seed)
    segmenter = SAM2Segmenter('nano_sam2', None, frozen=False)
    optimizer = torch.optim.AdamW(segmenter.parameters(), lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=0.1
    )
    work_dir = Path(work_dir)

    def loss_of(step: int) -> Tensor:
        # Seeded by the step, so that a resumed run sees the same scenes.
        rng = np.random.default_rng([1, seed, step])
        batch = make_batch(rng, images, masks, 3)
        box = torch.from_numpy(rng.random(len(batch['masks'])) < 0.2)
        return step_loss(segmenter, batch, box)

    train_steps(
        work_dir,
        segmenter,
        optimizer,
        scheduler,
        loss_of,
        lambda: mean_iou(segmenter, held_out_batches(6)),
        steps=steps,
        max_norm=1.0,
        quiet=quiet,
    )
    out = work_dir / 'nano_sam2.pt'
    with write_whole(out) as partial:
        torch.save({'model': image_path_weights(segmenter.model)}, partial)
    print(f'wrote {out} ({out.stat().st_size / 2**20:.2f} MiB)')
    evaluate(out, shapes=shapes)
    return out


def evaluate(
    checkpoint: str | os.PathLike, *, shapes: str | os.PathLike | None = None
) -> dict[str, dict[str, float]]:
    """Measure a nano SAM 2, and print the figures of the model card.

    Args:
        checkpoint: A file of :func:`pretrain`.
        shapes (optional): Folder of a Shapes data set. Defaults to None.

    Returns:
        dict: Results of :func:`mean_iou` for ``held-out scenes`` and, with a
        data set, ``Shapes val``.

    Raises:
        FileNotFoundError: if a file or the data set does not exist.
        ValueError: if the checkpoint does not hold a nano SAM 2.
    """
    segmenter = SAM2Segmenter('nano_sam2', str(checkpoint))
    result = {'held-out scenes': mean_iou(segmenter, held_out_batches())}
    if shapes is not None:
        result['Shapes val'] = mean_iou(segmenter, shapes_batches(shapes))
    print(json.dumps(result, indent=2))
    return result
