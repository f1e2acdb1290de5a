# SPDX-License-Identifier: Apache-2.0
"""The pretext of the demo's networks, and their training on it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from s4m.apis import nano_pretraining
from s4m.apis.nano_pretraining import (
    build_network,
    lr_factor,
    pretrain,
)
from s4m.apis.pretext_model import PretextModel, first_queries, pixel_loss
from s4m.datasets import pretext_scenes, random_scenes, shapes_drawing
from s4m.datasets.pretext_scenes import (
    crowd_scene,
    large_scene,
    pretext_batch,
)
from s4m.utils.checkpoint_files import asset_file

SCENES = {'large': large_scene, 'crowd': crowd_scene}


@pytest.mark.parametrize('kind', list(SCENES))
def test_scenes__labels_match_masks(kind):
    counts = []
    for seed in range(8):
        rng = np.random.default_rng([9, seed])
        scene = SCENES[kind](rng, 64, 96)
        assert scene.image.shape == (64, 96, 3)
        assert scene.image.dtype == np.uint8
        sizes = np.bincount(scene.ids.ravel())
        # Every number from 1 to n is there: a label for each mask.
        assert len(sizes) == 1 + len(scene.labels)
        assert (sizes[1:] >= 12).all()
        assert set(scene.labels) <= set(range(len(random_scenes.FAMILIES)))
        counts.append(len(scene.labels))
    assert max(counts) <= (12 if kind == 'large' else 100)
    assert kind == 'large' or min(counts) > 4


def test_large_scene__an_object_is_where_its_mask_is(monkeypatch):
    """Without light, blur and noise, a plain object has its own colour."""
    monkeypatch.setattr(
        pretext_scenes,
        'texture',
        lambda rng, side: np.full((side, side, 3), rng.random(), np.float32),
    )
    monkeypatch.setattr(
        pretext_scenes,
        '_finish',
        lambda rng, image, ids, labels, least: (image[..., 0], ids),
    )
    image, ids = large_scene(np.random.default_rng(3), 64, 96)
    for k in np.unique(ids[ids > 0]):
        assert len(np.unique(image[ids == k])) == 1
    assert len(np.unique(image)) >= len(np.unique(ids))


def test_batch__as_a_detector_takes_it():
    rgb, samples = pretext_batch(np.random.default_rng(0), 2, (64, 96), True)
    assert rgb.shape == (2, 3, 64, 96) and rgb.dtype == torch.uint8
    for sample in samples:
        gt = sample.gt_instances
        assert gt.masks.dtype == torch.bool
        assert gt.masks.shape == (len(gt.labels), 64, 96)
        assert (gt.masks.sum(0) <= 1).all()  # each pixel shows one object


def test_scenes__have_nothing_of_shapes():
    """No outline, pattern or background of the evaluation's data."""
    of_shapes = {
        value
        for name, value in vars(shapes_drawing).items()
        if callable(value) and value.__module__ == shapes_drawing.__name__
    } - {shapes_drawing.shrink}  # averages pixels
    for module in (pretext_scenes, random_scenes):
        assert not of_shapes & {
            v for v in vars(module).values() if callable(v)
        }


def test_prompted_scenes__have_the_first_four_families(monkeypatch):
    """The nano SAM 2 of the package was trained on those."""
    monkeypatch.setattr(
        random_scenes, 'FAMILIES', (*random_scenes.FAMILIES[:4], *'abcd')
    )
    seen = {
        len(random_scenes.outline(np.random.default_rng(k))) for k in range(40)
    }
    assert seen <= {64, 48, *range(4, 10)}


@pytest.fixture
def tiny(monkeypatch):
    """Small scenes, from random weights."""
    for name, recipe in nano_pretraining.NETWORKS.items():
        monkeypatch.setitem(
            nano_pretraining.NETWORKS,
            name,
            recipe._replace(
                sizes=((64, 96), (64, 64)), dense_steps=1, start=None
            ),
        )
    monkeypatch.setattr(
        nano_pretraining, 'held_out_losses', lambda *_: dict(large=1.0)
    )


class _Killed(Exception):
    pass


def test_training__resumed_equals_uninterrupted(tmp_path, tiny, monkeypatch):
    options = dict(steps=4, images=1, quiet=True, save_interval=2)
    whole = torch.load(pretrain(tmp_path / 'a', **options), weights_only=True)

    def dies(*args):
        if len(calls) == 3:
            raise _Killed
        calls.append(1)
        return original(*args)

    calls: list[int] = []
    original = PretextModel.loss
    monkeypatch.setattr(PretextModel, 'loss', dies)
    with pytest.raises(_Killed):
        pretrain(tmp_path / 'b', **options)
    assert not (tmp_path / 'b/mask2former_nano.pth').exists()
    monkeypatch.setattr(PretextModel, 'loss', original)
    with (tmp_path / 'b/train_log.jsonl').open('a') as f:
        f.write('{"step": 3, "loss": 9.0, "lr": 0.0}\n')  # was not saved
    torch.manual_seed(123)
    resumed = torch.load(
        pretrain(tmp_path / 'b', **options), weights_only=True
    )
    for key, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][key]), key
        assert 'cls_embed' not in key
    logs = [
        [json.loads(s) for s in (tmp_path / d / 'train_log.jsonl').open()]
        for d in 'ab'
    ]
    assert [r['step'] for r in logs[0]] == [2, 4]
    for a, b in zip(*logs, strict=True):
        assert (a['loss'], a['lr']) == (b['loss'], b['lr'])


def test_first_queries__train_alone(tiny):
    model = PretextModel(build_network('mask2former_nano'))
    rgb, samples = pretext_batch(np.random.default_rng(0), 1, (32, 64), False)
    model.detector_loss(rgb, samples, True).backward()
    head = model.detector.panoptic_head
    assert head.num_queries == 100
    for weight in (head.query_feat.weight, head.query_embed.weight):
        assert weight.grad[:20].abs().sum(1).min() > 0
        assert weight.grad[20:].abs().max() == 0
    with first_queries(model.detector, 7) as parameters:
        assert {len(v) for v in parameters.values()} == {7}


def test_object_loss__of_features_that_show_the_objects(tiny):
    """Two objects in two channels: their means segment them."""
    model = PretextModel(build_network('mask2former_nano'))
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, :, :4] = masks[1, :, 4:] = True
    gt = InstanceData(masks=masks, labels=torch.tensor([0, 1]))
    features = torch.zeros(64, 8, 8)
    features[:2] = masks.float() * 2 - 1
    with torch.no_grad():
        model.to_mask.bias.zero_()
        model.to_mask.weight.copy_(torch.eye(64) * 10)
    assert model.object_loss(features, gt).item() < 0.01
    model.to_mask.weight.data.neg_()
    # Each pixel has the logit 20 of the wrong class.
    worse = model.object_loss(features, gt).item()
    assert worse == pytest.approx(5 * 20 + 5 * (1 - 1 / 65), abs=0.1)


def test_pixel_loss__by_hand():
    """One object of 2 x 2 feature pixels, of class 2, at stride 4."""
    masks = torch.zeros(1, 16, 24, dtype=torch.bool)
    masks[0, 4:12, 8:16] = True
    gt = InstanceData(masks=masks, labels=torch.tensor([2]))
    pixels = torch.zeros(12, 4, 6)
    inside = (slice(1, 3), slice(2, 4))
    pixels[0] = 50  # background
    pixels[0][inside], pixels[3][inside] = 0, 50
    # The centre is half a pixel from each, and the size is 2.
    pixels[9, 1], pixels[9, 2] = 0.25, -0.25
    pixels[10, :, 2], pixels[10, :, 3] = 0.25, -0.25
    pixels[11] = np.log(2)
    assert pixel_loss(pixels, gt).item() == pytest.approx(0, abs=1e-5)
    pixels[9] += 1
    assert pixel_loss(pixels, gt).item() == pytest.approx(4, abs=1e-5)
    pixels[11] += 3
    assert pixel_loss(pixels, gt).item() == pytest.approx(7, abs=1e-5)
    pixels[3][inside], pixels[4][inside] = 0, 50
    wrong = 4 * 50 * 4 / 24  # four of 24 pixels
    assert pixel_loss(pixels, gt).item() == pytest.approx(7 + wrong, abs=1e-3)


def test_vit__starts_from_the_trained_decoder():
    model = build_network('vit_nano')
    start = torch.load(
        asset_file('s4m://mask2former_nano'),
        weights_only=True,
    )['state_dict']
    for key in (
        'panoptic_head.query_feat.weight',
        'panoptic_head.transformer_decoder.layers.2.ffn.layers.1.weight',
    ):
        assert torch.equal(model.state_dict()[key], start[key].float())


def test_unknown_network__is_named(tmp_path):
    with pytest.raises(ValueError, match="vit_nano, got 'resnet'"):
        pretrain(tmp_path, network='resnet')


def test_lr_factor__does_not_depend_on_steps_before_the_end():
    assert lr_factor(500, 1000, 9) == lr_factor(500, 4000, 9) == 1
    assert lr_factor(999, 1000, 9) == pytest.approx(0.005)
