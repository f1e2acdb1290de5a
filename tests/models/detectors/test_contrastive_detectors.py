# SPDX-License-Identifier: Apache-2.0
"""SSKD's objective on a nano Mask2Former."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData
from s4m.models.detectors import object_grid, valid_grid

CONTRAST = dict(type='PixelContrastiveLoss', in_channels=192, num_negatives=8)

OFF = dict(loss_contrast=None, strong_augment=None)


@pytest.fixture
def build():
    cfg = Config.fromfile(
        ROOT / 'configs/_base_/models/mask2former_vit_nano.py'
    )

    def make(**changes):
        model = Config(cfg.to_dict()).model
        model.type = 'ContrastiveMask2Former'
        model.data_preprocessor.type = 'SemiDataPreprocessor'
        model.backbone.vit_cfg.depth = 4
        model.loss_contrast = CONTRAST
        model.strong_augment = dict(type='StrongAugment')
        model.update(changes)
        torch.manual_seed(0)
        net = MODELS.build(model)
        net.init_weights()
        return net

    return make


def _sample(size=(64, 64), shape=None) -> DetDataSample:
    masks = torch.zeros(2, *size, dtype=torch.uint8)
    masks[0, 8:30, 8:30] = masks[1, 34:60, 20:60] = 1
    return DetDataSample(
        metainfo=dict(
            img_shape=shape or size, batch_input_shape=size, ori_shape=size
        ),
        gt_instances=InstanceData(
            labels=torch.tensor([1, 5]),
            masks=BitmapMasks(masks.numpy(), *size),
        ),
    )


def _batch(branches=('sup', 'unsup'), num=2):
    torch.manual_seed(1)
    inputs = {b: torch.rand(num, 3, 64, 64) * 255 for b in branches}
    return inputs, {b: [_sample() for _ in range(num)] for b in branches}


def _total(losses):
    return sum(v for k, v in losses.items() if 'loss' in k)


def test_loss__is_the_detectors_own_a_branch_and_the_contrast(build):
    """L_sup + semi_weight L_semi, by the plain Mask2Former."""
    model = build(semi_weight=0.25)
    inputs, samples = _batch()
    torch.manual_seed(2)
    losses = model(inputs, samples, mode='loss')
    plain = build(loss_contrast=None, strong_augment=None)
    plain.load_state_dict(
        {
            k: v
            for k, v in model.state_dict().items()
            if not k.startswith('loss_contrast')
        }
    )
    mask2former = type(plain).__mro__[2]  # MMDet's class
    torch.manual_seed(2)
    for branch, weight in (('sup', 1), ('unsup', 0.25)):
        own = mask2former.loss(
            plain, model.data_preprocessor.normalize(inputs[branch]),
            samples[branch],
        )  # fmt: skip
        for key, value in own.items():
            torch.testing.assert_close(
                losses[f'{branch}_{key}'], weight * value
            )
    assert losses['loss_contrast'] > 0


@pytest.mark.parametrize(
    ('branches', 'changes', 'keys'),
    [
        (('sup',), {}, {'sup', 'loss'}),
        (('sup', 'unsup'), dict(sup_weight=0.0, **OFF), {'unsup'}),
        (('sup', 'unsup'), dict(semi_weight=0.0, **OFF), {'sup'}),
        (
            ('sup', 'unsup'),
            OFF,
            {'sup', 'unsup'},
        ),
    ],
)
def test_loss__terms_that_are_off(build, branches, changes, keys):
    losses = build(**changes)(*_batch(branches), mode='loss')
    assert {k.split('_')[0] for k in losses} == keys
    assert torch.isfinite(_total(losses))


def test_contrast__images_of_weight_zero_take_part(build):
    """As in the paper's row "+ pxl only": the labels are not read."""
    model = build(semi_weight=0.0)
    inputs, samples = _batch()
    losses = model(inputs, samples, mode='loss')
    assert all(v == 0 for k, v in losses.items() if k.startswith('unsup_loss'))
    seen = []
    model.loss_contrast.register_forward_hook(
        lambda module, args, out: seen.append(len(args[0]))
    )
    model(inputs, samples, mode='loss')
    assert seen == [4]


def test_gradients__weak_encoder_only(build):
    """The contrast alone moves the backbone, not the head, not the strong."""
    model = build()
    graphs = []
    model.backbone.register_forward_hook(
        lambda *args: graphs.append(args[-1][-1].requires_grad)
    )
    losses = model(*_batch(), mode='loss')
    # Weak views of both branches; the strong ones of all images at once.
    assert graphs == [True, True, False]
    losses['loss_contrast'].backward()
    moved = {
        name.split('.')[0]
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert moved == {'backbone', 'loss_contrast'}


def test_every_parameter_has_a_gradient(build):
    """find_unused_parameters is not needed, objects or not."""
    model = build()
    inputs, samples = _batch()
    for sample in samples['unsup']:
        sample.gt_instances = sample.gt_instances[:0]
    _total(model(inputs, samples, mode='loss')).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert not missing


def test_evaluation__is_the_plain_model(build):
    """Nothing of the contrast runs."""
    model = build().eval()
    model.loss_contrast.forward = None
    model.strong_augment.forward = None
    with torch.no_grad():
        (out,) = model(torch.rand(1, 3, 64, 64), [_sample()], mode='predict')
    assert out.pred_instances.masks.shape[1:] == (64, 64)


def test_two_sizes__one_clear_error(build):
    inputs, samples = _batch()
    inputs['unsup'] = torch.rand(2, 3, 32, 64)
    samples['unsup'] = [_sample((32, 64)) for _ in range(2)]
    with pytest.raises(ValueError, match='BatchFixedSizePad'):
        build()(inputs, samples, mode='loss')


@pytest.mark.parametrize(
    ('changes', 'word'),
    [
        (dict(strong_augment=None), 'go together'),
        (dict(loss_contrast=None), 'go together'),
        (dict(semi_weight=-1.0), 'semi_weight'),
    ],
)
def test_arguments(build, changes, word):
    with pytest.raises(ValueError, match=word):
        build(**changes)


def test_statistics__objects_of_labelled_images_only(build):
    model = build()
    model.loss_contrast.keep_statistics = True
    model(*_batch(('unsup',)), mode='loss')
    assert 'fnr_gt' not in model.loss_contrast.statistics
    model(*_batch(), mode='loss')
    assert 0 <= model.loss_contrast.statistics['fnr_gt'] <= 1


def test_grids__hand_computed():
    """A canvas of 8 x 12 on a grid of 2 x 3: centres at 2, 6 and 2, 6, 10."""
    samples = [
        DetDataSample(metainfo=dict(img_shape=shape))
        for shape in ((8, 12), (6, 11), (7, 7))
    ]
    valid = valid_grid(samples, (8, 12), (2, 3), torch.device('cpu'))
    assert valid.int().tolist() == [
        [[1, 1, 1], [1, 1, 1]],
        [[1, 1, 1], [0, 0, 0]],
        [[1, 1, 0], [1, 1, 0]],
    ]
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2, 2] = masks[1, 6, :] = True
    for given in (masks, BitmapMasks(masks.byte().numpy(), 8, 8)):
        grid = object_grid(given, (8, 12), (2, 3), torch.device('cpu'))
        assert grid.tolist() == [[1, 0, 0], [2, 2, 0]]
    none = object_grid(masks[:0], (8, 12), (2, 3), torch.device('cpu'))
    assert none.tolist() == [[0, 0, 0], [0, 0, 0]]
