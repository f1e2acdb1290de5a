# SPDX-License-Identifier: Apache-2.0
"""Two processes of which one has no object, for every model of docs/mixing.md.

DistributedDataParallel waits for the gradients of all parameters, on each
process. Where a part of a model gets none without an object, training stops
unless ``find_unused_parameters`` is set.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from nano import DETECTORS, FIND_UNUSED, shallow
from ranks import run_ranks
from s4m.engine import CPUDistributedDataParallel
from s4m.structures.pseudo_instances import detector_targets
from torch import nn

SIZE = (64, 96)
SEGMENTER = dict(
    type='SAM2Segmenter', config='nano_sam2', checkpoint='nano_sam2'
)
NAMES = (*DETECTORS, 'Mask2Former')
CASES = [
    # Its labelled branch is the supervised training.
    *((name, 'student') for name in NAMES),
    ('MaskRCNN', 'supervised'),
    # S4M's teachers, and its student: refined pseudo-labels and copy-paste.
    ('MaskRCNN', 'distill'),
    ('Mask2Former', 'distill'),
    ('Mask2Former', 's4m'),
    # Pseudo-labels with weights, statistics of labelled images.
    ('Mask2Former', 'remedies'),
]


def _detector(name: str) -> ConfigDict:
    if name == 'Mask2Former':
        path = ROOT / 'configs/_base_/models/mask2former_nano.py'
        return Config.fromfile(path).model
    return shallow(name)


def _build(name: str, setting: str) -> nn.Module:
    cfg = _detector(name)
    if setting == 'distill':
        source = 'neck' if 'neck' in cfg else 'panoptic_head.pixel_decoder'
        cfg = ConfigDict(
            dict(cfg, type=f'Distill{name}'),
            feature_source=source,
            segmenter=dict(
                type='SAM2Segmenter',
                config='nano_sam2',
                checkpoint='nano_sam2',
            ),
            loss_distill=dict(type='StructuralDistillationLoss'),
            points_per_image=8,
        )
    elif setting in ('student', 's4m', 'remedies'):
        preprocessor = dict(cfg.data_preprocessor)
        preprocessor.update(type='SemiDataPreprocessor')
        cfg = ConfigDict(
            type='SemiInstanceSegmentor',
            detector=cfg,
            data_preprocessor=preprocessor,
            pseudo_labeler=dict(type='PredictionPseudoLabeler'),
            strong_augment=dict(type='StrongAugment'),
        )
        if setting == 's4m':
            cfg.refiner = dict(type='PseudoLabelRefiner', segmenter=SEGMENTER)
            cfg.copy_paste = dict(type='RefinedCopyPaste', min_area=0)
        if setting == 'remedies':
            cfg.semi_train_cfg = dict(bn_stats='labeled')
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    if hasattr(model, 'unsup_weight'):
        model.unsup_weight = 2.0
    return model.train()


def _objects(num: int) -> InstanceData:
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 8:40, 10:44] = masks[1, 20:60, 50:90] = True
    return InstanceData(labels=torch.tensor([1, 3]), masks=masks)[:num]


def _sample(num: int) -> DetDataSample:
    return DetDataSample(
        metainfo=dict(img_shape=SIZE, ori_shape=SIZE),
        gt_instances=detector_targets(_objects(num), SIZE),
    )


def _data(model: nn.Module, num: int) -> dict:
    """An image with ``num`` objects, or two to paste, as a loader's batch."""
    several = 2 if getattr(model, 'copy_paste', None) else 1
    images = [torch.randint(0, 256, (3, *SIZE)).byte() for _ in range(several)]
    if not hasattr(model, 'student'):
        samples = [_sample(num) for _ in images]
        return dict(inputs=images, data_samples=samples)

    def labels(rgb, samples):
        items = [_objects(num) for _ in samples]
        for item in items:
            item.scores = torch.full((num,), 0.9)
            item.mask_logits = item.masks[:, ::4, ::4] * 8.0 - 4
            if model.bn_stats == 'labeled':  # the setting 'remedies'
                item.weights = torch.linspace(0.2, 0.8, num)
        return items

    model.get_pseudo_instances = labels
    branches = ('sup', 'unsup_teacher', 'unsup_student')
    return dict(
        inputs={b: images for b in branches},
        data_samples={b: [_sample(num) for _ in images] for b in branches},
    )


def _without_gradient(model: nn.Module, num: int) -> list[str]:
    """Parameters that train, but not from this batch."""
    data = model.data_preprocessor(_data(model, num), True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    names = [
        n
        for n, p in model.named_parameters()
        if p.requires_grad and p.grad is None
    ]
    model.zero_grad()
    return names


def _train(name: str, setting: str, rank: int) -> dict:
    """Two steps; the second process has no object."""
    model = _build(name, setting)
    unused = _without_gradient(model, 0)
    before = _weights(model)
    wrapped = CPUDistributedDataParallel(
        model,
        broadcast_buffers=False,
        find_unused_parameters=name in FIND_UNUSED,
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    optim = OptimWrapper(torch.optim.SGD(trained, lr=1e-4))
    for _ in range(2):
        wrapped.train_step(_data(model, 2 * (rank == 0)), optim)
    return dict(unused=unused, before=before, after=_weights(model))


def _weights(model: nn.Module) -> torch.Tensor:
    trained = [p for p in model.parameters() if p.requires_grad]
    return nn.utils.parameters_to_vector(trained).detach().clone()


def _process(rank: int, folder: str) -> None:
    results = {}
    for case in CASES:
        try:
            results[case] = _train(*case, rank)
        except Exception as e:
            raise RuntimeError(f'{case}, rank {rank}') from e
    torch.save(results, Path(folder) / f'{rank}.pt')


@pytest.fixture(scope='module')
def ranks(tmp_path_factory) -> list[dict]:
    """Results of both processes: one start for all models."""
    folder = tmp_path_factory.mktemp('ranks')
    run_ranks(_process, str(folder))
    return [torch.load(folder / f'{rank}.pt') for rank in (0, 1)]


@pytest.mark.parametrize('case', CASES, ids='-'.join)
def test_empty_rank__both_take_the_same_steps(ranks, case):
    one, two = (rank[case] for rank in ranks)
    assert torch.equal(one['after'], two['after'])
    assert torch.isfinite(one['after']).all()
    assert not torch.equal(one['before'], one['after'])


@pytest.mark.parametrize('case', CASES, ids='-'.join)
def test_find_unused__where_a_parameter_has_no_gradient(ranks, case):
    """What needs it has it; what does not works without."""
    for rank in ranks:
        assert bool(rank[case]['unused']) == (case[0] in FIND_UNUSED)


def test_find_unused__configs_and_docs():
    for path in sorted((ROOT / 'configs/mixing').glob('*.py')):
        cfg = Config.fromfile(path)
        model = cfg.model.get('detector', cfg.model)
        name = model.type.removeprefix('Distill')
        needed = name in FIND_UNUSED
        assert cfg.get('find_unused_parameters', False) == needed, path
    text = (ROOT / 'docs/mixing.md').read_text()
    (bullet,) = re.findall(r'\* \*\*Several GPUs\.\*\*(.*?)\n\n', text, re.S)
    need, _, without = bullet.partition('finished reduction')
    names = dict(MaskRCNN='Mask R-CNN', RTMDet='RTMDet-Ins')
    for name in NAMES:
        where = need if name in FIND_UNUSED else without
        assert names.get(name, name) in ' '.join(where.split())
