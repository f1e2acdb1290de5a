# SPDX-License-Identifier: Apache-2.0
"""Structural distillation of a whole detector against a float64 loop."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from s4m.models import DistillMask2Former, StructuralDistillMixin
from s4m.models.detectors import (
    sample_query_points,
    structural_distillation,
)
from s4m.structures import LazyMasks
from s4m.utils.recording import record_output


@pytest.fixture
def model_cfg(shapes_config) -> Config:
    return shapes_config('s4m_teacher_shapes_5p').model


def _batch(num_images: int, canvas=(64, 128), valid=(50, 100)):
    """Normalised inputs, padded, with one rectangle an image."""
    data = []
    for i in range(num_images):
        masks = torch.zeros(1, *canvas, dtype=torch.uint8)
        masks[0, 10 : 20 + i, 5:40] = 1
        sample = DetDataSample(
            metainfo=dict(
                img_shape=valid,
                ori_shape=valid,
                batch_input_shape=canvas,
                pad_shape=canvas,
            )
        )
        sample.gt_instances = InstanceData(
            labels=torch.tensor([i]),
            masks=BitmapMasks(masks.numpy(), *canvas),
        )
        data.append(sample)
    inputs = torch.randn(num_images, 3, *canvas)
    inputs[..., valid[0] :, :] = 0
    inputs[..., valid[1] :] = 0
    return inputs, data


@pytest.mark.parametrize('num_images', [1, 2])
def test_loss__equals_float64_loop_on_padded_input(
    model_cfg, nano_segmenter, num_images
):
    model_cfg.points_per_image = 6
    model = MODELS.build(model_cfg)
    model.set_segmenter(nano_segmenter)
    inputs, data = _batch(num_images)
    seen = {}
    targets = model.distill_targets

    def remember(*args):
        torch.manual_seed(5)
        seen['targets'] = targets(*args)
        return seen['targets']

    model.distill_targets = remember
    with record_output(model.panoptic_head.pixel_decoder) as outputs:
        losses = model.loss(inputs, data)
    features = outputs[0][0].detach().double()
    index, target, grid = seen['targets']
    assert grid == (16, 16)

    # Points again, and the tokens under them, on the padded canvas.
    torch.manual_seed(5)
    foreground = torch.zeros(num_images, 64, 128, dtype=torch.bool)
    for i in range(num_images):
        foreground[i, 10 : 20 + i, 5:40] = True
    sizes = torch.tensor([[50, 100]] * num_images)
    points = sample_query_points(foreground, sizes, 6)
    small = F.interpolate(
        features, (16, 16), mode='bilinear', align_corners=False
    )
    total, count = 0.0, 0
    for b in range(num_images):
        for p in range(6):
            x, y = points[b, p].tolist()
            row, col = int(y * 16 / 64), int(x * 16 / 128)
            assert index[b, p].item() == row * 16 + col
            own = small[b, :, row, col]
            for t in range(256):
                other = small[b, :, t // 16, t % 16]
                cos = own @ other / (own.norm() * other.norm())
                d = abs(cos - target[b, p, t].double()).item()
                total += 0.5 * d * d if d < 1 else d - 0.5
                count += 1
    want = total / count
    assert losses['loss_distill'].item() == pytest.approx(want, rel=1e-4)

    losses['loss_distill'].backward()
    grads = {n for n, p in model.named_parameters() if p.grad is not None}
    assert any(n.startswith('backbone.') for n in grads)
    assert any(n.startswith('panoptic_head.pixel_decoder.') for n in grads)
    assert not any('cls_embed' in n for n in grads)


@pytest.mark.parametrize(
    'kind', ['SemiDataPreprocessor', 'DetDataPreprocessor']
)
def test_loss__segmenter_sees_the_pixels(model_cfg, nano_segmenter, kind):
    """RGB of 0..255, the mean pixel as padding; the network the same."""
    model_cfg.data_preprocessor.type = kind
    model_cfg.data_preprocessor.bgr_to_rgb = True
    model = MODELS.build(model_cfg)
    model.set_segmenter(nano_segmenter)
    _, (sample,) = _batch(1)
    image = torch.randint(256, (3, 50, 100), dtype=torch.uint8)
    data = dict(inputs=[image], data_samples=[sample])
    model.data_preprocessor.pad_size_divisor = 32
    batch = model.data_preprocessor(data, training=True)
    seen = {}
    targets = model.distill_targets
    model.distill_targets = lambda rgb, samples: (
        seen.update(rgb=rgb) or targets(rgb, samples)
    )
    with record_input(model.backbone) as inputs:
        model.loss(batch['inputs'], batch['data_samples'])
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    pixels = mean.expand(3, 64, 128).clone()
    pixels[:, :50, :100] = image.flip(0).float()
    assert torch.equal(inputs[0][0], (pixels - mean) / std)
    exact = kind == 'SemiDataPreprocessor'
    assert torch.equal(seen['rgb'][0], pixels) == exact
    torch.testing.assert_close(seen['rgb'][0], pixels, atol=1e-4, rtol=0)


@contextmanager
def record_input(module):
    inputs = []
    handle = module.register_forward_pre_hook(
        lambda _, args: inputs.append(args[0])
    )
    yield inputs
    handle.remove()


@pytest.mark.parametrize('kind', ['polygons', 'lazy', 'bitmaps', 'tensor'])
def test_targets__union_of_every_kind_of_masks(
    model_cfg, nano_segmenter, kind
):
    """The foreground of the query points is the union of the masks."""
    polygons = [[5, 10, 40, 10, 40, 20, 5, 20], [60, 30, 99, 30, 60, 49]]
    lazy = LazyMasks([[p] for p in polygons], 50, 100)
    masks = {
        'lazy': lazy,
        'bitmaps': BitmapMasks(lazy.masks, 50, 100),
        'tensor': torch.from_numpy(lazy.masks),
        'polygons': PolygonMasks(
            [[np.array(p)] for p in polygons], 50, 100
        ).pad((64, 128)),
    }[kind]
    want = torch.zeros(64, 128, dtype=torch.bool)
    want[:50, :100] = torch.from_numpy(lazy.masks).any(0)
    model = MODELS.build(model_cfg)
    model.set_segmenter(nano_segmenter)
    _, data = _batch(1)
    data[0].gt_instances = InstanceData(
        labels=torch.tensor([0, 1]), masks=masks
    )
    seen = []
    sample = structural_distillation.sample_query_points

    def remember(foreground, *args):
        seen.append(foreground)
        return sample(foreground, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structural_distillation, 'sample_query_points', remember)
        model.points_per_image = 4
        model.distill_targets(torch.rand(1, 3, 64, 128), data)
    assert torch.equal(seen[0], want[None])


class TestQueryPoints:
    """Half on objects without replacement, half anywhere valid."""

    def test_half_foreground_half_valid(self):
        foreground = torch.zeros(2, 40, 60, dtype=torch.bool)
        foreground[:, 5:25, 10:30] = True
        sizes = torch.tensor([[30, 40], [40, 60]])
        points = sample_query_points(foreground, sizes, 128).long()
        for b in range(2):
            x, y = points[b, :64].T
            assert foreground[b, y, x].all()
            assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == 64
            x, y = points[b, 64:].T
            assert (x < sizes[b, 1]).all() and (y < sizes[b, 0]).all()
        assert points[1, 64:, 0].max() > 45

    def test_few_foreground_pixels(self):
        foreground = torch.zeros(1, 20, 20, dtype=torch.bool)
        foreground[0, 3, 4:7] = True
        points = sample_query_points(foreground, torch.tensor([[9, 9]]), 20)
        got = {tuple(p) for p in points[0, :3].long().tolist()}
        assert got == {(4, 3), (5, 3), (6, 3)}
        assert (points < 9).all()

    def test_no_foreground(self):
        points = sample_query_points(
            torch.zeros(1, 8, 8, dtype=torch.bool), torch.tensor([[8, 8]]), 5
        )
        assert points.shape == (1, 5, 2)


def test_checkpoint__is_a_plain_mask2former(model_cfg, shapes_config):
    model = MODELS.build(model_cfg)
    model.init_weights()
    assert model.has_segmenter
    plain = MODELS.build(shapes_config('supervised_shapes_5p').model)
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_build__needs_no_segmenter_weights(model_cfg):
    """Testing and inference never read SAM's checkpoint."""
    model_cfg.segmenter.checkpoint = 'does_not_exist.pt'
    model = MODELS.build(model_cfg)
    with pytest.raises(FileNotFoundError, match='SAM2 checkpoint'):
        model.init_weights()


def test_mixin__works_with_mask_rcnn(nano_segmenter):
    """Any detector with a named feature map; here the FPN of a Mask R-CNN."""
    cfg = get_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py').model
    cfg.backbone.update(depth=18, base_channels=8, init_cfg=None)
    cfg.neck.in_channels = [8, 16, 32, 64]
    cfg.update(
        type='_DistillMaskRCNN',
        segmenter=dict(
            type='SAM2Segmenter', config='nano_sam2', checkpoint=None
        ),
        loss_distill=dict(type='StructuralDistillationLoss'),
        feature_source='neck',
        feature_index=0,
        points_per_image=8,
    )
    model = MODELS.build(cfg)
    model.set_segmenter(nano_segmenter)
    inputs, data = _batch(2)
    for sample in data:
        sample.gt_instances.bboxes = torch.tensor([[5.0, 10, 40, 20]])
    losses = model.loss(inputs, data)
    assert losses['loss_distill'] > 0
    losses['loss_distill'].backward()
    assert model.backbone.layer4[0].conv1.weight.grad.abs().sum() > 0


def _register_mask_rcnn() -> None:
    from mmdet.models.detectors import MaskRCNN

    class _DistillMaskRCNN(StructuralDistillMixin, MaskRCNN):
        pass

    MODELS.register_module(module=_DistillMaskRCNN, force=True)


_register_mask_rcnn()


def test_init__bad_arguments(model_cfg):
    with pytest.raises(ValueError, match='points_per_image'):
        MODELS.build({**model_cfg, 'points_per_image': 0})
    with pytest.raises(ValueError, match='feature_source'):
        MODELS.build({**model_cfg, 'feature_source': 'head'})
    with pytest.raises(ValueError, match='needs a segmenter'):
        DistillMask2Former(segmenter=None)
