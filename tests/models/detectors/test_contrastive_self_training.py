# SPDX-License-Identifier: Apache-2.0
"""SSKD's objective on a nano Mask2Former."""

from __future__ import annotations

import pytest
import torch
from contrastive_students import (
    OFF,
    build_student,
    make_batch,
    make_sample,
    total_loss,
)
from mmdet.models.detectors import Mask2Former
from s4m.models.detectors import ContrastiveSelfTrainingMixin


@pytest.fixture
def build():
    return build_student


def test_loss__is_the_detectors_own_a_branch_and_the_contrast(build):
    """L_sup + semi_weight L_semi, by the plain Mask2Former."""
    model = build(semi_weight=0.25)
    inputs, samples = make_batch()
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
    mask2former = Mask2Former  # MMDet's class
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
    losses = build(**changes)(*make_batch(branches), mode='loss')
    assert {k.split('_')[0] for k in losses} == keys
    assert torch.isfinite(total_loss(losses))


def test_contrast__images_of_weight_zero_take_part(build):
    """As in the paper's row "+ pxl only": the labels are not read."""
    model = build(semi_weight=0.0)
    inputs, samples = make_batch()
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
    losses = model(*make_batch(), mode='loss')
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
    inputs, samples = make_batch()
    for sample in samples['unsup']:
        sample.gt_instances = sample.gt_instances[:0]
    total_loss(model(inputs, samples, mode='loss')).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert not missing


def test_evaluation__is_the_plain_model(build):
    """Nothing of the contrast runs."""
    model = build().eval()
    model.loss_contrast.forward = None
    model.strong_augment.forward = None
    with torch.no_grad():
        (out,) = model(
            torch.rand(1, 3, 64, 64), [make_sample()], mode='predict'
        )
    assert out.pred_instances.masks.shape[1:] == (64, 64)


def test_two_sizes__one_clear_error(build):
    inputs, samples = make_batch()
    inputs['unsup'] = torch.rand(2, 3, 32, 64)
    samples['unsup'] = [make_sample((32, 64)) for _ in range(2)]
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
    model(*make_batch(('unsup',)), mode='loss')
    assert 'fnr_gt' not in model.loss_contrast.statistics
    model(*make_batch(), mode='loss')
    assert 0 <= model.loss_contrast.statistics['fnr_gt'] <= 1


def test_strong_view__without_the_padding(build):
    """The sizes of all images go to the augmentation."""
    model = build()
    seen = []
    forward = model.strong_augment.forward
    model.strong_augment.forward = lambda rgb, sizes: (
        seen.append(sizes) or forward(rgb, sizes)
    )
    inputs, samples = make_batch()
    samples['unsup'][1].set_metainfo(dict(img_shape=(40, 50)))
    model(inputs, samples, mode='loss')
    assert seen == [[(64, 64), (64, 64), (64, 64), (40, 50)]]


def test_mixin__needs_features_and_predictions():
    """The two methods that tell where to contrast are not optional."""

    class Half(ContrastiveSelfTrainingMixin, Mask2Former):
        def encode_features(self, rgb):
            return rgb

    with pytest.raises(TypeError, match='loss_with_features'):
        Half()
