# SPDX-License-Identifier: Apache-2.0
"""The estimate of a training's memory, and the advice when it is short."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from s4m.apis import memory, training
from s4m.apis.cli import one_line_errors
from s4m.apis.config import get_config
from s4m.apis.precision import set_precision

GIB = 2**30


@pytest.fixture
def card(monkeypatch):
    """A GPU with bf16 and 24 GiB."""
    properties = SimpleNamespace(total_memory=24 * GIB)
    for function, value in dict(
        is_available=True,
        get_device_capability=(8, 0),
        get_device_name='card',
        current_device=0,
        device_count=1,
        get_device_properties=properties,
    ).items():
        monkeypatch.setattr(
            torch.cuda, function, lambda *_, value=value: value
        )


def _config(name: str, amp: str | None = 'bf16', **options) -> Config:
    cfg = get_config(name)
    cfg.merge_from_dict(options)
    set_precision(cfg, amp)
    return cfg


def _images(labeled: int, unlabeled: int) -> dict[str, int]:
    return {
        'train_dataloader.batch_size': labeled + unlabeled,
        'train_dataloader.sampler.num_labeled': labeled,
        'train_dataloader.sampler.num_unlabeled': unlabeled,
    }


DINOV2_L = 'guided_distillation_dinov2_vit_l_cityscapes_10p'
#: Peaks of the simulated device, docs/results/gpu.md.
SIMULATED = [
    ('s4m_cityscapes_10p', 'bf16', {}, 6.1),
    ('s4m_cityscapes_10p', 'off', {}, 9.8),
    ('s4m_cityscapes_10p', 'bf16', _images(2, 2), 3.9),
    ('s4m_coco_10p', 'bf16', {}, 8.3),
    ('guided_distillation_cityscapes_10p', 'bf16', {}, 5.6),
    ('guided_distillation_cityscapes_10p', 'off', {}, 9.6),
    (DINOV2_L, 'bf16', {}, 20.0),
    ('sskd_distill_cityscapes_10p', 'bf16', {}, 4.8),
    ('s4m_teacher_cityscapes_10p', 'bf16',
     {'train_dataloader.batch_size': 4}, 6.7),
]  # fmt: skip
#: What the simulated device does not know, in GiB.
BESIDE = 0.5
SAM = 'model.refiner.segmenter'


@pytest.mark.parametrize(('name', 'amp', 'options', 'peak'), SIMULATED)
def test_estimate__is_near_what_was_simulated(card, name, amp, options, peak):
    got = memory.estimate_gib(_config(name, amp, **options))
    assert got == pytest.approx(peak + BESIDE, rel=0.03)


@pytest.mark.parametrize(('batch', 'peak'), [(4, 10.3), (2, 6.1)])
def test_estimate__sam_in_fp32(card, batch, peak):
    options = {f'{SAM}.dtype': 'float32', **_images(batch, batch)}
    cfg = _config('s4m_cityscapes_10p', 'off', **options)
    assert memory.estimate_gib(cfg) == pytest.approx(peak + BESIDE, rel=0.03)


@pytest.mark.parametrize(
    ('name', 'amp', 'options'),
    [
        ('guided_distillation_swin_l_cityscapes_10p', 'bf16', {}),
        ('s4m_mask_rcnn_cityscapes_10p', 'bf16', {}),
        ('sskd_teacher_adapt_cityscapes_10p', 'bf16', {}),
        ('supervised_cityscapes_10p', 'bf16', {}),
        ('s4m_shapes_5p', 'bf16', {}),
        ('s4m_cityscapes_10p', 'fp16', {}),
        ('s4m_cityscapes_10p', 'bf16', _images(40, 40)),
        ('s4m_cityscapes_10p', 'bf16',
         {'model.detector.backbone.with_cp': True}),
        ('s4m_cityscapes_10p', 'bf16',
         {'model.detector.panoptic_head.pixel_decoder.with_cp': True}),
        ('s4m_cityscapes_10p', 'bf16',
         {f'{SAM}.config': 'sam2_hiera_tiny'}),
        (DINOV2_L, 'bf16', {'model.detector.backbone.frozen': True}),
    ],
)  # fmt: skip
def test_estimate__nothing_of_what_was_not_measured(card, name, amp, options):
    cfg = _config(name, amp, **options)
    assert memory.estimate_gib(cfg) is None
    assert memory.describe_memory(cfg) is None
    assert '(1) ' in memory.advice(cfg)


def test_advice__in_the_order_of_cost(card):
    said = memory.advice(_config('s4m_cityscapes_10p', 'off'))
    parts = [
        '(1) train_dataloader.batch_size=4 '
        'train_dataloader.sampler.num_labeled=2 '
        'train_dataloader.sampler.num_unlabeled=2 '
        'optim_wrapper.accumulative_counts=2',
        '(2) --amp bf16',
        '(3) model.detector.backbone.with_cp=True '
        'model.detector.panoptic_head.pixel_decoder.with_cp=True, slower',
        f'(4) {SAM}.chunk_size=24',
        f'(5) {SAM}.config=sam2_hiera_tiny '
        f'{SAM}.checkpoint=checkpoints/sam2_hiera_tiny.pt',
    ]
    places = [said.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ('name', 'images', 'counts'),
    [('s4m_coco_10p', 2, 3), ('guided_distillation_cityscapes_10p', 4, 2)],
)
def test_advice__keeps_the_total_batch(card, name, images, counts):
    cfg = _config(name)
    total = cfg.train_dataloader.batch_size
    options = dict(
        word.split('=')
        for word in memory.advice(cfg).replace(',', '').split()
        if word.startswith(('train_dataloader.', 'optim_wrapper.'))
    )
    assert int(options['train_dataloader.batch_size']) == images
    assert int(options['optim_wrapper.accumulative_counts']) == counts
    assert images * counts == total
    # The options exist, also with the batch that they make.
    cfg.merge_from_dict({k: int(v) for k, v in options.items()})
    sampler = cfg.train_dataloader.sampler
    assert sampler.num_labeled + sampler.num_unlabeled == images


@pytest.mark.parametrize(
    ('name', 'key'),
    [
        ('supervised_swin_l_cityscapes_10p', 'model.backbone'),
        (DINOV2_L, 'model.detector.backbone'),
        ('sskd_distill_cityscapes_10p', 'model.backbone'),
    ],
)
def test_advice__checkpoints_swin_and_dinov2(card, name, key):
    cfg = _config(name)
    assert f'{key}.with_cp=True' in memory.advice(cfg)
    backbone = cfg
    for part in key.split('.'):
        backbone = backbone[part]
    kind = MODELS.get(backbone.type)
    assert 'with_cp' in inspect.signature(kind.__init__).parameters
    backbone.with_cp = True
    assert f'{key}.with_cp' not in memory.advice(cfg)


def test_advice__leaves_out_what_does_not_apply(card):
    cfg = _config('supervised_frozen_dinov2_vit_b_coco_2p')
    cfg.train_dataloader.batch_size = 1
    advice = memory.advice(cfg)
    assert '(1) model.panoptic_head.pixel_decoder.with_cp=True' in advice
    assert '(2)' not in advice
    cfg.model.panoptic_head.pixel_decoder.with_cp = True
    assert memory.advice(cfg) == ''


def test_line__says_that_it_is_an_estimate(card):
    line = memory.describe_memory(_config('s4m_cityscapes_10p'))
    assert '\n' not in line
    assert line.startswith(
        'Memory: an estimate of 6.7 GiB for 4 + 4 images of 512 x 1024 '
        'pixels in bf16'
    )
    assert 'has 24.0 GiB' in line and '--amp' not in line


def test_line__not_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = get_config('s4m_cityscapes_10p')
    assert memory.describe_memory(cfg) is None


def _fail(*_, **__):
    raise torch.cuda.OutOfMemoryError('Tried to allocate 2 GiB.\nGPU 0 ...')


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        _fail()


def _backward():
    _Doubled.apply(torch.ones(1, requires_grad=True)).backward()


def _optimizer():
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.ones(1)
    torch.optim.SGD([weight], lr=1).step(_fail)


def pseudo_label():
    _fail()


def loss_by_pseudo_instances():
    _fail()


def val_step():
    _fail()


@pytest.mark.parametrize(
    ('run', 'phase'),
    [
        (_fail, 'the forward pass'),
        (_backward, 'the backward pass'),
        (_optimizer, 'the optimizer step'),
        (pseudo_label, "the teacher's labelling"),
        (loss_by_pseudo_instances, 'the forward pass of the unlabelled'),
        (val_step, 'validation'),
    ],
)
def test_out_of_memory__one_line_with_phase_and_sizes(card, run, phase):
    cfg = _config('s4m_cityscapes_10p')

    @one_line_errors
    def main():
        with memory.memory_advice(cfg):
            run()

    with pytest.raises(SystemExit) as error:
        main()
    line = error.value.code
    assert f'in {phase}' in line and '\n' not in line
    assert '4 + 4 images of 512 x 1024 pixels in bf16' in line
    assert memory.advice(cfg) in line


def test_other_errors__stay():
    with pytest.raises(ZeroDivisionError), memory.memory_advice(Config()):
        raise ZeroDivisionError


def test_train__says_both(card, monkeypatch, tmp_path):
    """One line before the training, and the advice when it fails."""
    cfg = _config('guided_distillation_cityscapes_10p')
    cfg.work_dir = str(tmp_path)
    lines = []
    runner = SimpleNamespace(
        cfg=cfg,
        rank=0,
        work_dir=cfg.work_dir,
        train=_fail,
        logger=SimpleNamespace(info=lines.append, warning=lines.append),
    )
    for name, value in dict(
        load_config=cfg, build_runner=runner, write_record=None
    ).items():
        monkeypatch.setattr(training, name, lambda *_, v=value, **__: v)
    with pytest.raises(memory.OutOfMemory, match='To take less'):
        training.train('any', amp='bf16')
    assert sum(line.startswith('Memory: ') for line in lines) == 1
