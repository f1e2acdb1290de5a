# SPDX-License-Identifier: Apache-2.0
"""Train the nano SAM 2 of the demo on endless class-agnostic random shapes.

The scenes have nothing of Shapes' classes: outlines are random (Fourier
blobs, star polygons, ellipses, strokes) and so are textures (smooth noise,
blotches, cells, gradients). So it is to Shapes what SAM 2 is to photos: a
model that segments things, trained elsewhere.

    python tools/train_nano_sam2.py --work-dir work_dirs/nano_sam2
    python tools/train_nano_sam2.py --eval projects/s4m/assets/nano_sam2.pt \
        --shapes data/shapes
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from s4m.utils.whole_files import write_whole

SIDE = 256
MIN_PIXELS = 200


# ------------------------------------------------------------------ scenes
def _smooth_noise(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side) noise in 0..1 with a random correlation length."""
    cells = int(np.exp(rng.uniform(np.log(3), np.log(64))))
    coarse = rng.random((cells, cells), np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def _cells(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side) Voronoi cells with a random grey each."""
    num = int(rng.integers(20, 120))
    points = rng.random((num, 2), np.float32) * side
    canvas = np.full((side, side), 255, np.uint8)
    canvas[points[:, 1].astype(int), points[:, 0].astype(int)] = 0
    _, labels = cv2.distanceTransformWithLabels(
        canvas, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_CCOMP
    )
    return rng.random(labels.max() + 1, np.float32)[labels]


def _texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 3) float32 surface in 0..1 around one base colour."""
    base = rng.random(3, np.float32)
    other = base + rng.normal(0, rng.choice([0.05, 0.15, 0.3]), 3)
    kind = rng.integers(4)
    if kind == 0:
        t = _smooth_noise(rng, side)
    elif kind == 1:
        t = (_smooth_noise(rng, side) > 0.5).astype(np.float32)
    elif kind == 2:
        t = _cells(rng, side)
    else:
        angle = rng.random() * 2 * np.pi
        ramp = np.linspace(0, 1, side, dtype=np.float32)
        t = np.cos(angle) * ramp[None] + np.sin(angle) * ramp[:, None]
    t = t[..., None]
    return (base * (1 - t) + other.astype(np.float32) * t).astype(np.float32)


def _outline(rng: np.random.Generator) -> np.ndarray:
    """Closed outline around the origin within about the unit circle."""
    kind = rng.integers(4)
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    if kind == 0:
        radius = np.ones_like(angles)
        for k in range(2, 7):
            amplitude = rng.normal(0, 0.35 / k)
            radius += amplitude * np.cos(k * angles + rng.random() * 6.3)
        radius = np.clip(radius, 0.25, 1.6)
    elif kind == 1:
        angles = np.sort(rng.random(int(rng.integers(4, 10)))) * 2 * np.pi
        radius = rng.uniform(0.5, 1.2, len(angles))
    elif kind == 2:
        radius = np.ones_like(angles)
    else:
        t = np.linspace(-1, 1, 24)
        bend = rng.normal(0, 0.5) * t**2 + rng.normal(0, 0.3) * t
        width = rng.uniform(0.15, 0.35)
        spine = np.stack([t, bend], 1)
        side = np.array([0, width])
        return np.concatenate([spine + side, spine[::-1] - side])
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)


def render_scene(
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """One scene.

    Returns:
        tuple: (256, 256, 3) uint8 RGB and (256, 256) uint8 instance map, 0
        for the background.
    """
    image = _texture(rng, SIDE)
    ids = np.zeros((SIDE, SIDE), np.uint8)
    for k in range(1, int(rng.integers(5, 15)) + 1):
        outline = _outline(rng)
        scale = np.exp(rng.uniform(np.log(9), np.log(70)))
        stretch = np.exp(rng.normal(0, 0.35, 2))
        turn = rng.random() * 2 * np.pi
        rotation = np.array(
            [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        )
        points = outline @ rotation.T * scale * stretch
        points += rng.uniform(0, SIDE, 2)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
        inside = mask.astype(bool)
        image[inside] = _texture(rng, SIDE)[inside]
        ids[inside] = k
    ramp = np.linspace(-0.5, 0.5, SIDE, dtype=np.float32)
    light = (
        1
        + rng.normal(0, 0.3) * ramp[None]
        + rng.normal(0, 0.3) * ramp[:, None]
    )
    image *= light[..., None]
    # Low resolution in one or both axes, as when a small or wide picture is
    # stretched to the model's square input.
    size = [int(SIDE / s) for s in rng.choice([1, 1, 1.5, 2], 2)]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small += rng.normal(0, rng.uniform(0.0, 0.06), small.shape)
    image = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return (image.clip(0, 1) * 255).astype(np.uint8), ids


def make_batch(
    rng: np.random.Generator, num_images: int, num_masks: int, num_points: int
) -> dict[str, torch.Tensor]:
    """Scenes with prompts.

    Returns:
        dict: ``rgb`` (B, 3, S, S), ``masks`` (N, S, S) bool, ``points``
        (N, P, 2), ``boxes`` (N, 4), ``image_ids`` (N, ). Objects with fewer
        than 200 visible pixels are not asked for.
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


# ------------------------------------------------------------------ losses
def mask_losses(logits: torch.Tensor, target: torch.Tensor):
    """SAM's focal 20 : dice 1 per mask, and the IoU reached.

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
        hard, truth = logits > 0, target > 0.5
        union = (hard | truth).sum((2, 3)).clamp(min=1)
        iou = (hard & truth).sum((2, 3)) / union
    return 20 * focal + dice, iou


def step_loss(segmenter, batch: dict[str, torch.Tensor], box: torch.Tensor):
    """Loss of one batch; prompts where ``box`` get their box, others points.

    The three hypotheses of a point prompt are trained by the best one, the
    single mask of a box prompt by itself.
    """
    embeddings = segmenter.encode(batch['rgb'])
    ids, masks = batch['image_ids'], batch['masks'].float()
    total = 0.0
    for part, prompt in (
        (~box, dict(points=batch['points'][~box], multimask=True)),
        (box, dict(boxes=batch['boxes'][box], multimask=False)),
    ):
        if not part.any():
            continue
        logits, ious = segmenter.decode(embeddings, ids[part], **prompt)
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


# -------------------------------------------------------------- evaluation
@torch.no_grad()
def mean_iou(segmenter, batches, num_points: int = 3) -> dict[str, float]:
    """Mean IoU of the best predicted of three masks, and of box prompts."""
    from s4m.models.promptable import best_mask

    found = {'points': [], 'boxes': []}
    for batch in batches:
        embeddings = segmenter.encode(batch['rgb'])
        size = batch['masks'].shape[-2:]
        for kind, prompt in (
            ('points', dict(points=batch['points'][:, :num_points])),
            ('boxes', dict(boxes=batch['boxes'], multimask=False)),
        ):
            logits, _ = best_mask(
                *segmenter.decode(embeddings, batch['image_ids'], **prompt)
            )
            mask = F.interpolate(
                logits[:, None], size, mode='bilinear', align_corners=False
            )[:, 0]
            mask, truth = mask > 0, batch['masks']
            inter = (mask & truth).sum((1, 2))
            union = (mask | truth).sum((1, 2)).clamp(min=1)
            found[kind].append(inter / union)
    iou = torch.cat(found['points'])
    return dict(
        num_objects=len(iou),
        miou_3_points=round(iou.mean().item(), 4),
        median_iou_3_points=round(iou.median().item(), 4),
        miou_box=round(torch.cat(found['boxes']).mean().item(), 4),
    )


def held_out_batches(num: int = 24):
    """Scenes from seeds that training never draws."""
    for i in range(num):
        yield make_batch(np.random.default_rng([2, i]), 4, 16, 3)


def shapes_batches(root: Path, min_pixels: int = MIN_PIXELS):
    """Objects of Shapes' validation images of 200 pixels or more.

    The pixels are counted at the segmenter's 256 x 256, as for its own.
    """
    files = sorted((root / 'gtFine' / 'val').glob('*/*_instanceIds.png'))
    if not files:
        raise SystemExit(f'{root} has no gtFine/val: run make_shapes.py first')
    for n, file in enumerate(files):
        rng = np.random.default_rng([3, n])
        ids = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        picture = str(file).replace('gtFine_instanceIds', 'leftImg8bit')
        image = cv2.imread(picture.replace('gtFine', 'leftImg8bit'))[..., ::-1]
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


# ---------------------------------------------------------------- training
def image_path_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that images need, in fp16."""
    from s4m.models.promptable.sam2 import VIDEO_ONLY

    return {
        k: v.half() if v.is_floating_point() else v
        for k, v in model.state_dict().items()
        if not k.startswith(VIDEO_ONLY)
    }


def train(args: argparse.Namespace) -> None:
    """Train, log every 100 steps, evaluate and save every 1000."""
    from s4m.models.promptable import SAM2Segmenter

    torch.manual_seed(args.seed)
    segmenter = SAM2Segmenter('nano_sam2', None, frozen=False)
    optimizer = torch.optim.AdamW(segmenter.parameters(), args.lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.steps, pct_start=0.1
    )
    args.work_dir.mkdir(parents=True, exist_ok=True)
    last, log = args.work_dir / 'last.pt', args.work_dir / 'train_log.jsonl'
    start = 0
    if last.is_file():
        state = torch.load(last, weights_only=True)
        segmenter.load_state_dict(state['model'])
        optimizer.load_state_dict(state['optimizer'])
        scheduler.load_state_dict(state['scheduler'])
        start = state['step']
        print(f'resumed at step {start}')
    segmenter.train()
    began, window = time.time(), []
    steps = range(start, args.steps)
    for step in track(steps, 'training', disable=args.quiet):
        # Seeded by the step, so that a resumed run sees the same scenes.
        rng = np.random.default_rng([1, args.seed, step])
        batch = make_batch(rng, args.images, args.masks, 3)
        box = torch.from_numpy(rng.random(len(batch['masks'])) < 0.2)
        loss = step_loss(segmenter, batch, box)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(segmenter.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        window.append(loss.item())
        done = step + 1
        if done % 100 == 0 or done == args.steps:
            row = dict(
                step=done,
                loss=round(float(np.mean(window)), 4),
                lr=round(scheduler.get_last_lr()[0], 7),
                minutes=round((time.time() - began) / 60, 2),
            )
            window = []
            if done % 1000 == 0 or done == args.steps:
                segmenter.eval()
                row.update(mean_iou(segmenter, held_out_batches(6)))
                segmenter.train()
                state = dict(
                    model=segmenter.state_dict(),
                    optimizer=optimizer.state_dict(),
                    scheduler=scheduler.state_dict(),
                    step=done,
                )
                with write_whole(last) as partial:
                    torch.save(state, partial)
            with log.open('a') as f:
                f.write(json.dumps(row) + '\n')
            print(row, flush=True)
    out = args.work_dir / 'nano_sam2.pt'
    with write_whole(out) as partial:
        torch.save({'model': image_path_weights(segmenter.model)}, partial)
    print(f'wrote {out} ({out.stat().st_size / 2**20:.2f} MiB)')
    evaluate(out, args.shapes)


def evaluate(checkpoint: Path, shapes: Path | None) -> None:
    """Print the figures of the model card."""
    from s4m.models.promptable import SAM2Segmenter

    segmenter = SAM2Segmenter('nano_sam2', str(checkpoint))
    result = {'held-out scenes': mean_iou(segmenter, held_out_batches())}
    if shapes is not None:
        result['Shapes val'] = mean_iou(segmenter, shapes_batches(shapes))
    print(json.dumps(result, indent=2))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--work-dir', type=Path, default='work_dirs/nano_sam2')
    parser.add_argument('--steps', type=int, default=9000)
    parser.add_argument('--images', type=int, default=4, help='per step')
    parser.add_argument('--masks', type=int, default=8, help='per image')
    parser.add_argument('--lr', type=float, default=1e-3)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    parser.add_argument('--eval', type=Path, help='evaluate this checkpoint')
    parser.add_argument('--shapes', type=Path, help='a Shapes data set')
    args = parser.parse_args()
    if args.eval:
        evaluate(args.eval, args.shapes)
    else:
        train(args)


if __name__ == '__main__':
    main()
