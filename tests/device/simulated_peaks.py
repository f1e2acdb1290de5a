# SPDX-License-Identifier: Apache-2.0
"""Peak memory and launches of a step at its real size, without a GPU.

    python tests/device/simulated_peaks.py s4m_cityscapes_10p \\
        --images 4 4 --size 512 1024

Large tensors have a size but no values, so a step takes seconds. Each image
has 20 objects or 20 pseudo-labels. What the simulated device does not know
(workspaces, fragmentation) comes on top.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Before torch.
from device import simulator  # isort: split

import s4m  # noqa: F401
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from s4m.apis.gpu_check.batches import make_batch
from s4m.apis.gpu_check.networks import (
    TrainingStep,
    build,
    checkpointing,
    num_classes,
    read_config,
)

NUM = 20
#: Number of elements up to which a tensor has values.
VALUES = 60000


def _label(outputs: tuple, data_samples: list) -> list[InstanceData]:
    """Take the first queries: without values, none is confident."""
    masks = outputs[1][-1].float()
    masks.sigmoid().sum((2, 3))
    classes = outputs[0][-1].shape[-1] - 1
    index = torch.arange(NUM, device=masks.device)
    return [
        InstanceData(
            labels=torch.randint(classes, (NUM,), device=masks.device),
            scores=torch.rand(NUM, device=masks.device),
            mask_logits=image[index],
            masks=image[index] > 0,
        )
        for image in masks
    ]


def main() -> None:
    """Print the peak and the launches of each phase."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('--images', type=int, nargs=2, default=(4, 4))
    parser.add_argument('--size', type=int, nargs=2, default=(512, 1024))
    parser.add_argument(
        '--amp', choices=('bf16', 'fp16', 'off'), default='bf16'
    )
    parser.add_argument('--checkpoint', action='store_true')
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    init_default_scope('mmdet')
    with simulator.Simulator(values_up_to=VALUES) as sim:
        device = torch.device('cuda')
        cfg = read_config(args.config)
        model: Any = build(cfg, device)
        step = TrainingStep(cfg, model, device, NUM)
        if hasattr(model, 'pseudo_labeler'):
            object.__setattr__(model.pseudo_labeler, 'forward', _label)
            # The logits of the teacher itself, and not forced ones.
            run = model.pseudo_labeler.run_teacher.run
            object.__setattr__(model.pseudo_labeler, 'run_teacher', run)
        step.phases.mode, step.phases.phase = 'follow', sim.phase
        step.batch = make_batch(
            cfg.model.type,
            tuple(args.images),
            tuple(args.size),
            num_classes(cfg),
            NUM,
        )
        step.use(args.amp)
        context = contextlib.nullcontext()
        if args.checkpoint:
            context = checkpointing(step.network)
        with context:
            step()  # makes the optimiser's state
            sim.clear()
            with sim.phase('step'):
                step()
    for name, peak in sorted(sim.peaks.items(), key=lambda item: -item[1]):
        print(f'{name:28}{peak / 2**30:8.2f} GiB{sim.launches[name]:8}')
    print(
        f'{"all":28}{max(sim.peaks.values()) / 2**30:8.2f} GiB'
        f'{sum(sim.launches.values()):8} launches'
    )


if __name__ == '__main__':
    main()
