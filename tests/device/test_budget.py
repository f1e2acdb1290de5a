# SPDX-License-Identifier: Apache-2.0
"""Waits and launches of a training step, counted on the simulated device."""

from __future__ import annotations

from collections import Counter

import pytest
from device_runs import method_config
from s4m.apis.precision import set_precision
from s4m.apis.training import build_runner

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]

ITERS = 2
#: Greatest number of waits in one iteration.
WAITS = 12
#: Launches of matching and losses, a fifth of those of MMDetection's heads.
LAUNCHES = 536
#: Launches of a whole step of S4M at the real depth, 2 + 2 images.
LAUNCHES_OF_STEP = 7000


def _full_depth(detector) -> None:
    """Give a nano Mask2Former the depth of the real one.

    Waits and launches do not depend on the width.
    """
    detector.backbone.depth = 50
    detector.panoptic_head.in_channels = [96, 192, 384, 768]
    detector.panoptic_head.pixel_decoder.encoder.num_layers = 6
    detector.panoptic_head.transformer_decoder.num_layers = 9
    detector.init_cfg = None


def _count(sim, cfg, images: int) -> Counter:
    """Waits of one iteration by their phase and place, after the first."""
    from device.simulator.phases import Phases

    loader = cfg.train_dataloader
    loader.batch_size = images
    if loader.sampler.type == 'SemiSampler':
        loader.batch_size = 2 * images
        loader.sampler.update(num_labeled=images, num_unlabeled=images)
    cfg.train_cfg.update(max_iters=ITERS)
    cfg.default_hooks.logger.interval = 1000
    cfg.default_hooks.checkpoint.interval = 1000
    set_precision(cfg, 'bf16')
    runner = build_runner(cfg)
    runner.register_hook(Phases(sim), 'VERY_LOW')
    waits = Counter()

    def stop(*args, **kwargs):
        for (phase, kind, place, own), n in sim.syncs.items():
            if 'non_blocking' not in kind and 'LoggerHook' not in phase:
                waits[phase, kind, place, own] = n / (ITERS - 1)

    runner.hooks[-1].after_train_epoch = stop
    for hook in runner.hooks:
        if type(hook).__name__ == 'CheckpointHook':
            hook.after_train_iter = lambda *_, **__: None
    runner.train()
    return waits


@pytest.fixture
def count(device, shapes_config, shapes_root):
    """Count the waits of one step of a method."""

    def run(method: str, images: int, is_deep: bool = False) -> Counter:
        cfg = method_config(method, shapes_config, shapes_root, lambda: '')
        cfg.work_dir += str(images)
        if is_deep:
            _full_depth(cfg.model.detector)
        found = _count(device, cfg, images)
        assert 1 <= sum(found.values()) <= WAITS, found.most_common()
        return found

    return run


@pytest.mark.parametrize(
    'method', ['guided_distillation', 's4m_teacher', 'sskd_distill']
)
def test_step__waits_a_few_times(method, count):
    count(method, images=2)


def test_s4m__waits_do_not_grow_with_images_or_layers(count, device):
    few = count('s4m', images=2, is_deep=True)
    assert device.launches['matching and losses'] <= LAUNCHES
    assert sum(device.launches.values()) <= LAUNCHES_OF_STEP
    more = count('s4m', images=3)
    assert sum(few.values()) == sum(more.values())
