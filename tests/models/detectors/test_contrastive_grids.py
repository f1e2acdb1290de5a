# SPDX-License-Identifier: Apache-2.0
"""Where features lie in the image: annotated and valid cells."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from s4m.models.detectors import (
    object_grid,
    valid_grid,
)
from s4m.models.losses import FeatureGrid, pixel_descriptors


def test_grids__hand_computed():
    """A canvas of 8 x 12 on a grid of 2 x 3: centres at 2, 6 and 2, 6, 10."""
    samples = [
        DetDataSample(metainfo=dict(img_shape=shape))
        for shape in ((8, 12), (6, 11), (7, 7))
    ]
    cells = FeatureGrid.covering((2, 3), (8, 12))
    valid = valid_grid(samples, cells)
    assert valid.int().tolist() == [
        [[1, 1, 1], [1, 1, 1]],
        [[1, 1, 1], [0, 0, 0]],
        [[1, 1, 0], [1, 1, 0]],
    ]
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2, 2] = masks[1, 6, :] = True
    for given in (masks, BitmapMasks(masks.byte().numpy(), 8, 8)):
        assert object_grid(given, cells).tolist() == [[1, 0, 0], [2, 2, 0]]
    assert object_grid(masks[:0], cells).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.fixture
def student():
    """SSKD's student on Cityscapes, with an empty ViT and no decoder."""
    path = 'configs/sskd/sskd_distill_cityscapes_10p.py'
    cfg = Config.fromfile(ROOT / path).model
    cfg.backbone.init_cfg = None
    cfg.backbone.vit_cfg = dict(depth=12, embed_dim=12, num_heads=1)
    cfg.backbone.out_channels = (1, 1, 1, 1)
    cfg.loss_contrast.in_channels = 1
    cfg.panoptic_head.in_channels = [1, 1, 1, 1]
    return MODELS.build(cfg)


@pytest.mark.parametrize('size', [(518, 1036), (512, 1024)])
def test_grid__of_a_crop_of_512_pixels(student, size):
    """Its stride-28 level has 19 rows, each a strided kernel's.

    The oracle is the network: a feature is as bright as the patch at the
    centre of its kernel, and an image that is bright from some row on makes
    bright features below it. Masks with the same split must say the same.
    """
    backbone = student.backbone
    backbone.vit.forward_intermediates = lambda x, indices, **_: (
        [torch.nn.functional.avg_pool2d(x, 14)[:, :1]] * len(indices)
    )
    backbone.convs = torch.nn.ModuleList(torch.nn.Identity() for _ in '1234')
    kernel = backbone.resamplers[3]
    torch.nn.init.zeros_(kernel.weight)
    torch.nn.init.zeros_(kernel.bias)
    kernel.weight.data[:, :, 1, 1] = 1
    student.data_preprocessor.normalize = lambda rgb: rgb
    for split in range(3, 500, 4):
        if split % 28 == 7:
            continue  # half of a patch is bright
        image = torch.zeros(1, 3, *size)
        image[:, :, split:] = 1
        with torch.no_grad():
            features = student.encode_features(image)
        assert features.shape[2:] == (19, 37)
        bright = features[0, 0] > 0.5
        grid = student.feature_grid(features, size)
        # Two queries, the image above and below the split; sharp masks.
        lower = 1000 * image[0, 0] - 500
        masks = torch.stack([-lower, lower])
        found = pixel_descriptors(masks[None], torch.zeros(1, 2, 3), grid)
        below = found.queries[0].argmax(1).view(19, 37) == 1
        assert torch.equal(below, bright), split
        objects = object_grid(image[0, :1] > 0.5, grid)
        assert torch.equal(objects == 1, bright), split
        sample = DetDataSample(metainfo=dict(img_shape=(split, size[1])))
        valid = valid_grid([sample], grid)[0]
        assert torch.equal(valid, ~bright), split


def test_grid__of_sams_embedding(shapes_config):
    """It covers the padded image, whatever the shape, and so do the masks."""
    cfg = shapes_config('sskd_teacher_adapt_shapes_5p').model
    teacher = MODELS.build(cfg)
    size = (96, 160)
    features = torch.zeros(1, 64, 16, 16)
    grid = teacher.feature_grid(features, size)
    # SAM 2 stretches the image to a square: cells of 6 x 10 pixels.
    assert grid.rows.tolist() == [3 + 6.0 * i for i in range(16)]
    assert grid.cols.tolist() == [5 + 10.0 * i for i in range(16)]
    logits = torch.randn(1, 4, 64, 64)  # of its mask decoder
    want = torch.nn.functional.avg_pool2d(logits[..., 1:-1, 1:-1], 2, 4)
    # The centre of 4 x 4 cells is the mean of the four in the middle.
    torch.testing.assert_close(grid.sample(logits), want, atol=1e-5, rtol=0)
