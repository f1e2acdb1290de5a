# SPDX-License-Identifier: Apache-2.0
"""SSKD's objective on a nano Mask2Former."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
from conftest import ROOT
from mmdet.models.detectors import Mask2Former
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from s4m.models.detectors import (
    ContrastiveSelfTrainingMixin,
    object_grid,
    valid_grid,
)
from s4m.models.losses import FeatureGrid, pixel_descriptors

CONTRAST = dict(type='PixelContrastiveLoss', in_channels=192, num_negatives=8)

OFF = dict(loss_contrast=None, strong_augment=None)


def _build(**changes):
    """A nano student with changes of its config."""
    model = Config.fromfile(
        ROOT / 'configs/_base_/models/mask2former_vit_nano.py'
    ).model
    model.type = 'ContrastiveMask2Former'
    model.data_preprocessor.type = 'SemiDataPreprocessor'
    model.loss_contrast = CONTRAST
    model.strong_augment = dict(type='StrongAugment')
    model.update(changes)
    torch.manual_seed(0)
    net = MODELS.build(model)
    net.init_weights()
    return net


@pytest.fixture
def build():
    return _build


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


# ------------------------------------------------- labelled or not, one set
JOINT = dict(joint=True, semi_weight=1.0)


def test_joint__is_one_pass_of_the_plain_detector(build):
    """All images in one batch, one normaliser, plain names."""
    model = build(**JOINT)
    inputs, samples = _batch()
    samples['unsup'][0].gt_instances = samples['unsup'][0].gt_instances[:1]
    torch.manual_seed(2)
    losses = model(inputs, samples, mode='loss')
    plain = build(**OFF)
    plain.load_state_dict(
        {
            k: v
            for k, v in model.state_dict().items()
            if not k.startswith('loss_contrast')
        }
    )
    mask2former = type(plain).__mro__[2]  # MMDet's class
    torch.manual_seed(2)
    rgb = torch.cat([inputs['sup'], inputs['unsup']])
    own = mask2former.loss(
        plain,
        model.data_preprocessor.normalize(rgb),
        samples['sup'] + samples['unsup'],
    )
    assert set(losses) == {*own, 'loss_contrast'}
    for key, value in own.items():
        torch.testing.assert_close(losses[key], value)


@pytest.mark.parametrize('branch', ['sup', 'unsup'])
def test_joint__a_batch_without_a_branch(build, branch):
    """Every parameter learns all the same: processes stay in step."""
    model = build(**JOINT)
    calls = []
    model.panoptic_head.register_forward_hook(lambda *_: calls.append(1))
    losses = model(*_batch((branch,)), mode='loss')
    assert calls == [1]
    _total(losses).backward()
    assert all(p.grad is not None for p in model.parameters())


def _train_rank(rank: int, folder: str) -> None:
    """Two steps of a process; another one lacks a branch in each."""
    init_default_scope('mmdet')
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/store',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    model = torch.nn.parallel.DistributedDataParallel(_build(**JOINT))
    for step in range(2):
        model.zero_grad()
        branches = ('sup', 'unsup') if rank == step else ('unsup',)
        _total(model(*_batch(branches), mode='loss')).backward()
    grads = {n: p.grad for n, p in model.module.named_parameters()}
    torch.save(grads, f'{folder}/{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_joint__two_processes_that_lack_a_branch(tmp_path):
    """One pass each: they reduce the same normalisers, and none waits."""
    torch.multiprocessing.spawn(_train_rank, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f'{i}.pth') for i in range(2))
    for name, grad in first.items():
        torch.testing.assert_close(grad, second[name])


def test_joint__annotated_objects_only_for_the_rate(build):
    model = build(**JOINT)
    model.loss_contrast.keep_statistics = True
    seen = []
    model.loss_contrast.register_forward_hook(
        lambda module, args, out: seen.append(args[5])
    )
    model(*_batch(), mode='loss')
    (ids,) = seen
    assert ids.shape[0] == 4
    assert (ids[:2] >= 0).all() and (ids[2:] == -1).all()


def test_joint__one_weight(build):
    with pytest.raises(ValueError, match='joint=False'):
        build(joint=True, semi_weight=0.5)


def test_strong_view__without_the_padding(build):
    """The sizes of all images go to the augmentation."""
    model = build()
    seen = []
    forward = model.strong_augment.forward
    model.strong_augment.forward = lambda rgb, sizes: (
        seen.append(sizes) or forward(rgb, sizes)
    )
    inputs, samples = _batch()
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
