# SPDX-License-Identifier: Apache-2.0
"""Train the start of the demo's networks on random scenes.

Published networks start from ImageNet. The networks of the demo start from
these weights instead, which make no difference to the installation: they are
part of the package, ``s4m://mask2former_nano`` and ``s4m://vit_nano``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.lr_scheduler import LambdaLR

from s4m.datasets.pretext_scenes import pretext_batch
from s4m.datasets.random_scenes import FAMILIES
from s4m.utils.checkpoints import compare_state_dicts, read_weights
from s4m.utils.recording import record_output
from s4m.utils.whole_files import write_whole

from .config import get_config, resource_dir
from .resumable_training import train_steps

#: Queries that are trained; scenes of few objects mostly use the first ones.
NUM_QUERIES, FEW_QUERIES = 100, 20
#: Keys that depend on the classes of a data set, which the file leaves out.
FRESH = ('panoptic_head.cls_embed.',)


class Recipe(NamedTuple):
    """How one network is trained."""

    #: File below ``configs/_base_/models``.
    config: str
    #: (H, W) of scenes with large objects, and of crowds.
    sizes: tuple[tuple[int, int], tuple[int, int]]
    #: Number of steps.
    steps: int
    #: Checkpoint that gives what fits except the backbone, if any.
    start: str | None


NETWORKS = {
    'mask2former_nano': Recipe(
        'mask2former_nano.py', ((96, 192), (128, 128)), 3000, None
    ),
    'vit_nano': Recipe(
        'mask2former_vit_nano.py',
        ((96, 160), (128, 128)),
        1000,
        's4m://mask2former_nano',
    ),
}


def build_network(network: str) -> nn.Module:
    """Build a network with 100 queries and random weights.

    Args:
        network (str): A key of :data:`NETWORKS`.

    Raises:
        ValueError: if the name is unknown.
    """
    if network not in NETWORKS:
        raise ValueError(
            f'network must be one of {", ".join(NETWORKS)}, got {network!r}'
        )
    recipe = NETWORKS[network]
    init_default_scope('mmdet')
    folder = resource_dir() / 'configs/_base_/models'
    cfg = get_config(folder / recipe.config).model
    cfg.init_cfg = None
    cfg.panoptic_head.num_queries = NUM_QUERIES
    cfg.test_cfg.max_per_image = NUM_QUERIES
    model = MODELS.build(cfg)
    model.init_weights()
    if recipe.start is not None:
        state = {
            k: v
            for k, v in read_weights(recipe.start).items()
            if not k.startswith('backbone.')
        }
        _, unexpected, differ = compare_state_dicts(model.state_dict(), state)
        for key in (*unexpected, *differ):
            del state[key]
        model.load_state_dict(state, strict=False)
    return model


@contextmanager
def first_queries(
    model: nn.Module, num: int | None
) -> Iterator[dict[str, Tensor]]:
    """Let a Mask2Former use its first queries only.

    Args:
        model (nn.Module): MMDet's Mask2Former.
        num (int, optional): Number of queries, or None for all.

    Yields:
        dict[str, Tensor]: Parameters for ``torch.func.functional_call``.
    """
    head = model.panoptic_head
    total = head.num_queries
    head.num_queries = num or total
    try:
        yield {
            f'panoptic_head.{name}.weight': getattr(head, name).weight[:num]
            for name in ('query_feat', 'query_embed')
        }
    finally:
        head.num_queries = total


def batch_of(
    rng: np.random.Generator, network: str, images: int
) -> tuple[Tensor, SampleList, bool]:
    """Draw the scenes of a step.

    Args:
        rng (np.random.Generator): Source of all random numbers.
        network (str): A key of :data:`NETWORKS`, which gives the size.
        images (int): Number B of scenes.

    Returns:
        tuple: (B, 3, H, W) uint8 RGB, the samples, and whether the first 20
        queries suffice.
    """
    crowd = bool(rng.random() < 0.5)
    few = bool(not crowd and rng.random() < 0.75)
    size = NETWORKS[network].sizes[int(crowd)]
    return *pretext_batch(rng, images, size, crowd), few


def lr_factor(step: int, steps: int) -> float:
    """Return a step's share of the learning rate: a trapezoid.

    It rises for 100 steps, and falls to 0 over the last fifth. Until then it
    does not depend on ``steps``, so a training that resumes with another
    number of steps is shorter or longer.

    Example:
        >>> [round(lr_factor(k, 1000), 2) for k in (0, 99, 500, 900, 1000)]
        [0.01, 1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, (step + 1) / 100, 5 * (1 - step / steps))


def pretrain(
    work_dir: str | os.PathLike,
    *,
    network: str = 'mask2former_nano',
    steps: int | None = None,
    images: int = 4,
    lr: float = 5e-4,
    seed: int = 0,
    quiet: bool = False,
    save_interval: int = 250,
) -> Path:
    """Train a network on random scenes, and write its asset.

    A stopped training resumes from its last save, and gives the same weights
    as an uninterrupted one.

    Args:
        work_dir: Folder of ``last.pt``, ``train_log.jsonl`` and the result.
        network (str): A key of :data:`NETWORKS`. Defaults to
            ``mask2former_nano``.
        steps (int, optional): Number of steps. Defaults to the network's
            number in :data:`NETWORKS`.
        images (int): Number of scenes in a step. Defaults to 4.
        lr (float): Peak learning rate. Defaults to 5e-4.
        seed (int): Seed of weights and scenes. Defaults to 0.
        quiet (bool): Whether to show no progress bar. Defaults to False.
        save_interval (int): Number of steps between saves. Defaults to 250.

    Returns:
        Path: ``NETWORK.pth``, in fp16, without the class embedding.

    Raises:
        ValueError: if the name of the network is unknown.
    """
    torch.manual_seed(seed)
    model = PretextModel(build_network(network))
    steps = NETWORKS[network].steps if steps is None else steps
    plain = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [dict(params=plain), dict(params=no_decay, weight_decay=0.0)],
        lr,
        weight_decay=0.05,
    )
    scheduler = LambdaLR(optimizer, lambda step: lr_factor(step, steps))

    def loss_of(step: int) -> Tensor:
        # Seeded by the step, so that a resumed run draws the same scenes and
        # the same points of the loss.
        rng = np.random.default_rng([4, seed, step])
        torch.manual_seed(int(rng.integers(2**31)))
        return model.loss(*batch_of(rng, network, images))

    train_steps(
        Path(work_dir),
        model,
        optimizer,
        scheduler,
        loss_of,
        lambda: held_out_losses(model, network),
        steps=steps,
        max_norm=1.0,
        save_interval=save_interval,
        quiet=quiet,
    )
    out = Path(work_dir) / f'{network}.pth'
    with write_whole(out) as partial:
        torch.save({'state_dict': shipped_weights(model.detector)}, partial)
    print(f'wrote {out} ({out.stat().st_size / 2**20:.2f} MiB)')
    return out


class PretextModel(nn.Module):
    """A detector with a second task that has no queries.

    A Mask2Former from scratch learns slowly, since at first its queries match
    other objects in every step. The second task needs no matching: the mean
    mask feature of an object has to segment the object, and to tell its
    class. Its two layers are not part of the result.

    Args:
        detector (nn.Module): Mask2Former with 100 queries.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        channels = detector.panoptic_head.mask_embed[-1].out_features
        self.to_mask = nn.Linear(channels, channels)
        self.to_class = nn.Linear(channels, len(FAMILIES))

    def detector_loss(
        self, rgb: Tensor, samples: SampleList, few: bool
    ) -> Tensor:
        """Compute the sum of the Mask2Former's losses on a batch.

        Args:
            rgb (Tensor): (B, 3, H, W) RGB in 0..255.
            samples (list[DetDataSample]): Samples with ``gt_instances``.
            few (bool): Whether only the first 20 queries are used.
        """
        prepare = self.detector.data_preprocessor
        inputs = (rgb.float() - prepare.mean) / prepare.std
        queries = first_queries(self.detector, FEW_QUERIES if few else None)
        with queries as parameters:
            losses = functional_call(
                self.detector, parameters, (inputs, samples), dict(mode='loss')
            )
        parts = [v.mean() for k, v in losses.items() if 'loss' in k]
        return torch.stack(parts).sum()

    def loss(self, rgb: Tensor, samples: SampleList, few: bool) -> Tensor:
        """Compute the sum of the losses of both tasks, see above."""
        head = self.detector.panoptic_head
        with record_output(head.pixel_decoder) as outputs:
            loss = self.detector_loss(rgb, samples, few)
        gts = [sample.gt_instances for sample in samples]
        parts = [
            self.object_loss(features.flatten(1), gt, features.shape[-2:])
            for features, gt in zip(outputs[0][0], gts, strict=True)
            if len(gt.labels)
        ]
        return loss + torch.stack(parts).mean() if parts else loss

    def object_loss(
        self, features: Tensor, gt: InstanceData, size: torch.Size
    ) -> Tensor:
        """Compute the second task's loss of one scene.

        It has Mask2Former's terms and weights: 5 cross entropy of all
        pixels, 5 dice, 2 cross entropy of the classes.

        Args:
            features (Tensor): (C, h * w) mask features.
            gt (InstanceData): n objects.
            size (torch.Size): (h, w).
        """
        target = F.interpolate(gt.masks[:, None].float(), size, mode='area')
        target = target.flatten(1)
        weights = target / target.sum(1, keepdim=True).clamp(min=1e-3)
        means = weights @ features.T
        logits = self.to_mask(means) @ features
        bce = F.binary_cross_entropy_with_logits(logits, target)
        prob = logits.sigmoid()
        overlap = (prob * target).sum(1)
        dice = 1 - (2 * overlap + 1) / (prob.sum(1) + target.sum(1) + 1)
        classes = F.cross_entropy(self.to_class(means), gt.labels)
        return 5 * bce + 5 * dice.mean() + 2 * classes


@torch.no_grad()
def held_out_losses(
    model: PretextModel, network: str, num: int = 8
) -> dict[str, Any]:
    """Measure the mean loss on scenes that training never draws.

    Args:
        model (PretextModel): In eval mode.
        network (str): A key of :data:`NETWORKS`.
        num (int): Number of batches of each kind of scene. Defaults to 8.

    Returns:
        dict[str, float]: Mean loss of ``large`` objects and of a ``crowd``.
    """
    found: dict[str, Any] = {}
    for crowd, name in enumerate(('large', 'crowd')):
        losses = []
        for i in range(num):
            rng = np.random.default_rng([5, crowd, i])
            torch.manual_seed(i)
            size = NETWORKS[network].sizes[crowd]
            rgb, samples = pretext_batch(rng, 4, size, bool(crowd))
            losses.append(model.detector_loss(rgb, samples, not crowd))
        found[name] = round(torch.stack(losses).mean().item(), 4)
    return found


def shipped_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of an asset, in fp16, without class embedding."""
    return {
        k: v.half() if v.is_floating_point() else v
        for k, v in model.state_dict().items()
        if not k.startswith(FRESH)
    }
