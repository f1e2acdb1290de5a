# SPDX-License-Identifier: Apache-2.0
"""What follows a training, on a device: tools, resume, benchmarks."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import CLASSES, ROOT
from device_runs import method_config, train_method
from mmdet.registry import MODELS
from s4m.apis.config import get_config
from s4m.apis.inference import infer
from s4m.apis.own_data.image_scores import ImageScorer
from s4m.apis.own_data.suggestion_terms import class_rarity
from s4m.apis.photos import find_photos
from s4m.apis.prediction import load_model
from s4m.apis.pseudo_labels import PseudoLabelGenerator
from s4m.apis.publish import publish
from s4m.apis.testing import test as evaluate
from s4m.models import SAM2Segmenter

pytestmark = [pytest.mark.device, pytest.mark.usefixtures('device')]


@pytest.fixture(scope='module')
def s4m(device, shared_config, shapes_root):
    """S4M after 2 iterations, and resumed after the first of them."""
    runs = {}
    for name in ('whole', 'resumed'):
        cfg = method_config('s4m', shared_config, shapes_root, str)
        cfg.work_dir += name
        cfg.default_hooks.checkpoint.interval = 1
        folder = Path(cfg.work_dir)
        if name == 'resumed':
            # What a process leaves that is stopped after the first.
            shutil.copytree(runs['whole'].checkpoint.parent, folder)
            (folder / 'iter_2.pth').unlink()
            first = folder / 'iter_1.pth'
            (folder / 'last_checkpoint').write_text(str(first))
        runs[name] = SimpleNamespace(
            runner=train_method(cfg, resume='auto'),
            config=folder.with_suffix('.py'),
            checkpoint=folder / 'iter_2.pth',
        )
    return runs


@pytest.fixture(scope='module')
def random_model(device, shared_config):
    """A random model that finds objects: config file and checkpoint."""
    cfg = shared_config('guided_distillation_shapes_5p')
    cfg.test_cfg.type = 'TestLoop'
    config = Path(cfg.work_dir).with_suffix('.py')
    cfg.dump(str(config))
    torch.manual_seed(3)
    model = MODELS.build(cfg.model)
    meta = dict(dataset_meta=dict(classes=CLASSES, palette='random'))
    file = config.with_suffix('.pth')
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, file)
    return config, file


def test_resume__is_exact(s4m):
    """Points, augmentation and dropout are drawn on the device."""
    whole, resumed = (
        torch.load(s4m[name].checkpoint, weights_only=False)
        for name in ('whole', 'resumed')
    )
    for name, value in whole['state_dict'].items():
        assert torch.equal(resumed['state_dict'][name], value), name
    (one,), (two,) = whole['random_states'], resumed['random_states']
    assert torch.equal(one['cuda'], two['cuda'])
    assert not torch.equal(one['cuda'], one['torch'])


def test_test__both_networks(s4m, tmp_path):
    run = s4m['whole']
    metrics = evaluate(
        run.config, run.checkpoint, model='both', work_dir=tmp_path / 'test'
    )
    assert set(metrics) == {'teacher', 'student'}


def test_infer__on_the_device(random_model, shapes_root, tmp_path):
    folder = shapes_root / 'leftImg8bit/val'
    file = infer(folder, *random_model, tmp_path / 'out', 0.0)
    data = json.loads(file.read_text())
    assert len(data['images']) == 4 and data['annotations']


@pytest.mark.parametrize('refine', [None, ('nano_sam2', 'nano_sam2')])
def test_pseudo_labels(random_model, shapes_root, tmp_path, refine):
    out = tmp_path / 'labels.json'
    PseudoLabelGenerator(
        *random_model,
        images=shapes_root / 'annotations/semi/seed0@5-unlabeled.json',
        image_root=shapes_root / 'leftImg8bit/train',
        score_thr=0.0,
        max_per_image=3,
        refine=refine,
        workers=0,
    ).generate(out)
    assert json.loads(out.read_text())['annotations']


def test_suggest__terms_on_the_device(random_model, shapes_root):
    config, checkpoint = random_model
    cfg = get_config(config)
    model, classes = load_model(cfg, checkpoint)
    segmenter = dict(
        type='SAM2Segmenter', config='nano_sam2', checkpoint='nano_sam2'
    )
    scorer = ImageScorer(
        model,
        cfg.test_dataloader.dataset.pipeline,
        class_rarity(range(len(classes))),
        dict(type='PseudoLabelRefiner', segmenter=segmenter),
        min_score=0.0,
    )
    files = find_photos(shapes_root / 'leftImg8bit/val')
    scores = scorer.score(files)
    assert list(scores.terms) == ['uncertainty', 'views', 'sam', 'rare']
    for values in scores.terms.values():
        assert values.shape == (4,) and (values > 0).all()
        assert (values <= 1).all()
    assert scorer.features(files) == pytest.approx(scores.features, abs=1e-4)


def test_publish__weights_of_the_host(s4m, tmp_path):
    run = s4m['whole']
    weights, _ = publish(run.config, run.checkpoint, out=tmp_path / 'out')
    state = torch.load(weights, weights_only=True)['state_dict']
    assert state and all(value.is_cpu for value in state.values())


@pytest.mark.parametrize('name', ['pr', 'sd', 'arp', 'ema', 'pxl', 'matching'])
def test_benchmark__comparisons(name, monkeypatch):
    folder = ROOT / 'tools/benchmark'
    monkeypatch.syspath_prepend(folder)
    files = import_module('benchmark_step').COMPARISONS
    # Eighty calls of SAM 2 take long.
    monkeypatch.setattr(import_module('refinement'), 'NUM_MASKS', 2)
    rows = import_module(files[name]).compare(
        segmenter=SAM2Segmenter('nano_sam2', 'nano_sam2'),
        size=(32, 64),
        repeats=1,
        device='cuda',
        num_points=8,
        gd_config='guided_distillation_shapes_5p',
    )
    assert all(row['ms'] > 0 and row['peak_mib'] >= 0 for row in rows.values())


def test_benchmark__phases(shapes_config, shapes_root, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools/benchmark')
    cfg = method_config('s4m', shapes_config, shapes_root, str)
    result = import_module('whole_step').benchmark(cfg, iters=1, warmup=1)
    assert result['phases']['whole step']['ms'] > 0
    assert result['peak_mib'] > 0
