# SPDX-License-Identifier: Apache-2.0
"""Activation checkpointing on two processes, of which one has no object.

The variant of PyTorch's checkpoint that runs a backward pass inside of the
backward pass stops there where ``find_unused_parameters`` is set.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import CLASSES, ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from nano import FIND_UNUSED, grounding_dino, shallow
from ranks import run_ranks
from s4m.engine import CPUDistributedDataParallel
from s4m.structures.pseudo_instances import detector_targets
from torch import nn

SIZE = (64, 96)


def _config(name: str) -> Config:
    (path,) = (ROOT / 'configs').rglob(f'{name}.py')
    return Config.fromfile(path)


def _sskd(stage: str, bert: str) -> Config:
    """SSKD's teacher of Cityscapes in nano size: MM-Grounding-DINO."""
    cfg = _config(f'sskd_teacher_{stage}_shapes_5p')
    real = _config(f'sskd_teacher_{stage}_cityscapes_10p')
    cfg.model.detector = grounding_dino(bert)
    # MMDet's autocast is for a GPU: on a CPU it leaves the maps in bf16.
    cfg.model.detector.use_autocast = False
    cfg.model.classes = CLASSES
    cfg.model.joint = real.model.get('joint', False)
    assert real.model.detector.backbone.with_cp
    cfg.find_unused_parameters = real.get('find_unused_parameters', False)
    return cfg


def _detector(name: str) -> Config:
    model = shallow(name)
    model.backbone.with_cp = True
    return Config(
        dict(model=model, find_unused_parameters=name in FIND_UNUSED)
    )


def _backbone(name: str) -> Config:
    """A row of Shapes with what docs/training.md switches on."""
    cfg = _config(name)
    getattr(cfg.model, 'detector', cfg.model).backbone.with_cp = True
    if 'teacher_checkpoint' in cfg.model:
        cfg.model.teacher_checkpoint = None
    return cfg


def _guided() -> Config:
    """Guided Distillation with Swin of few channels: two backward passes."""
    cfg = _backbone('guided_distillation_shapes_5p')
    real = _config('guided_distillation_swin_l_cityscapes_10p')
    backbone = cfg.model.detector.backbone = real.model.detector.backbone
    backbone.update(
        embed_dims=cfg.model.detector.panoptic_head.in_channels[0],
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        with_cp=True,
        init_cfg=None,
    )
    return cfg


CASES: dict[str, Callable[[str], Config]] = dict(
    sskd_teacher_adapt=lambda bert: _sskd('adapt', bert),
    sskd_teacher_selftrain=lambda bert: _sskd('selftrain', bert),
    sskd_teacher_supervised=lambda bert: _sskd('supervised', bert),
    sskd_distill=lambda bert: _backbone('sskd_distill_shapes_5p'),
    guided_distillation=lambda bert: _guided(),
    s4m_teacher=lambda bert: _backbone('s4m_teacher_shapes_5p'),
    mask_rcnn=lambda bert: _detector('MaskRCNN'),
    condinst=lambda bert: _detector('CondInst'),
    solov2=lambda bert: _detector('SOLOv2'),
)


def _sample(num: int) -> DetDataSample:
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 8:40, 10:44] = masks[1, 20:60, 50:90] = True
    objects = InstanceData(labels=torch.tensor([1, 3]), masks=masks)
    targets = detector_targets(objects[:num], SIZE)
    return DetDataSample(
        metainfo=dict(
            img_shape=SIZE,
            ori_shape=SIZE,
            pad_shape=SIZE,
            batch_input_shape=SIZE,
            scale_factor=(1.0, 1.0),
        ),
        gt_instances=targets,
        ignored_instances=targets[:0],
    )


def _data(model: nn.Module, num: int) -> dict:
    """An image of each kind, labelled ones with ``num`` objects."""
    images = [torch.randint(0, 256, (3, *SIZE)).byte()]
    if hasattr(model, 'student'):
        branches = ['sup', 'unsup_teacher', 'unsup_student']
    elif hasattr(model, 'branch_weights'):
        branches = ['sup'] if model.loss_contrast is None else ['sup', 'unsup']
    else:
        return dict(inputs=images, data_samples=[_sample(num)])
    return dict(
        inputs={b: images for b in branches},
        data_samples={b: [_sample(num)] for b in branches},
    )


def _train(case: str, bert: str, rank: int) -> dict:
    """Two steps; the second process has no object."""
    cfg = CASES[case](bert)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    if hasattr(model, 'unsup_weight'):
        model.unsup_weight = 2.0
    trained = [p for p in model.parameters() if p.requires_grad]
    before = nn.utils.parameters_to_vector(trained).detach().clone()
    wrapped = CPUDistributedDataParallel(
        model,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    optim = OptimWrapper(torch.optim.SGD(trained, lr=1e-4))
    for _ in range(2):
        wrapped.train_step(_data(model, 2 * (rank == 0)), optim)
    after = nn.utils.parameters_to_vector(trained).detach()
    return dict(before=before, after=after)


def _process(rank: int, folder: str, bert: str) -> None:
    results = {}
    for case in CASES:
        try:
            results[case] = _train(case, bert, rank)
        except Exception as e:
            raise RuntimeError(f'{case}, rank {rank}') from e
    torch.save(results, Path(folder) / f'{rank}.pt')


@pytest.fixture(scope='module')
def ranks(tmp_path_factory, bert) -> list[dict]:
    """Results of both processes: one start for all models."""
    folder = tmp_path_factory.mktemp('ranks')
    run_ranks(_process, str(folder), bert)
    return [torch.load(folder / f'{rank}.pt') for rank in (0, 1)]


@pytest.mark.parametrize('case', CASES)
def test_checkpointed__both_take_the_same_steps(ranks, case):
    one, two = (rank[case] for rank in ranks)
    assert torch.equal(one['after'], two['after'])
    assert torch.isfinite(one['after']).all()
    assert not torch.equal(one['before'], one['after'])
