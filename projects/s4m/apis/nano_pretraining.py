# SPDX-License-Identifier: Apache-2.0
"""Train the start of the demo's networks on random scenes.

Published networks start from ImageNet. The networks of the demo start from
these weights instead, which make no difference to the installation: they are
part of the package, ``s4m://mask2former_nano`` and ``s4m://vit_nano``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.models.detectors import Mask2Former
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from s4m.datasets.pretext_scenes import pretext_batch
from s4m.utils.checkpoints import compare_state_dicts, read_weights
from s4m.utils.whole_files import write_whole

from .config import get_config, resource_dir
from .pretext_model import PretextModel
from .resumable_training import train_steps

#: Queries that are trained; scenes of few objects mostly use the first 20.
NUM_QUERIES = 100
#: Keys that depend on the classes of a data set, which the file leaves out.
FRESH = ('panoptic_head.cls_embed.',)


class Recipe(NamedTuple):
    """How one network is trained."""

    #: File below ``configs/_base_/models``.
    config: str
    #: (H, W) of scenes with large objects, and of crowds.
    sizes: tuple[tuple[int, int], tuple[int, int]]
    #: Number of steps, and how many first ones have the dense task only.
    steps: int
    dense_steps: int
    #: Checkpoint that gives what fits except the backbone, if any.
    start: str | None


NETWORKS = {
    'mask2former_nano': Recipe(
        'mask2former_nano.py', ((96, 192), (128, 128)), 3000, 1500, None
    ),
    'vit_nano': Recipe(
        'mask2former_vit_nano.py',
        ((96, 160), (128, 128)),
        800,
        500,
        's4m://mask2former_nano',
    ),
}


def build_network(network: str) -> Mask2Former:
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


def lr_factor(step: int, steps: int, dense_steps: int) -> float:
    """Return a step's share of the learning rate: a trapezoid.

    It rises for 100 steps in both parts of the training, and falls to 0 over
    the last fifth. Until then it does not depend on ``steps``, so a training
    that resumes with another number of steps is shorter or longer.

    Example:
        >>> [lr_factor(k, 1000, 300) for k in (0, 99, 200, 300, 500, 900)]
        [0.01, 1.0, 1.0, 0.01, 1.0, 0.5]
    """
    since = step if step < dense_steps else step - dense_steps
    return min(1.0, (since + 1) / 100, round(5 * (1 - step / steps), 6))


def pretrain(
    work_dir: str | os.PathLike,
    *,
    network: str = 'mask2former_nano',
    steps: int | None = None,
    images: int = 4,
    lr: float = 1e-3,
    seed: int = 0,
    quiet: bool = False,
    save_interval: int = 250,
) -> Path:
    """Train a network on random scenes, and write its asset.

    First the backbone and the pixel decoder learn a dense task alone, then
    the whole network learns both tasks of :class:`PretextModel`. A stopped
    training resumes from its last save, and gives the same weights as an
    uninterrupted one.

    Args:
        work_dir: Folder of ``last.pt``, ``train_log.jsonl`` and the result.
        network (str): A key of :data:`NETWORKS`. Defaults to
            ``mask2former_nano``.
        steps (int, optional): Number of steps. Defaults to the network's
            number in :data:`NETWORKS`.
        images (int): Number of scenes in a step. Defaults to 4.
        lr (float): Peak learning rate. Defaults to 1e-3.
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
    recipe = NETWORKS[network]
    steps = recipe.steps if steps is None else steps
    plain = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        dict(params=plain),
        dict(params=no_decay, weight_decay=0.0),
    ]
    optimizer = torch.optim.AdamW(groups, lr, weight_decay=0.05)
    scheduler = LambdaLR(
        optimizer, lambda step: lr_factor(step, steps, recipe.dense_steps)
    )

    def loss_of(step: int) -> Tensor:
        # Seeded by the step, so that a resumed run draws the same scenes and
        # the same points of the loss.
        rng = np.random.default_rng([4, seed, step])
        torch.manual_seed(int(rng.integers(2**31)))
        batch = batch_of(rng, network, images)
        return model.loss(*batch, step < recipe.dense_steps)

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
