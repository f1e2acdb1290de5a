# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels of a set of images as a file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASSES, ROOT, _use_data
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from pycocotools.coco import COCO
from s4m.apis.prediction import load_model
from s4m.apis.pseudo_label_file import PseudoLabelParts, keep_or_set_aside
from s4m.apis.pseudo_labels import PseudoLabelGenerator


@pytest.fixture(scope='session')
def nano_config(shapes_root, tmp_path_factory) -> tuple[Path, Path]:
    """A supervised nano model: config file and checkpoint."""
    folder = tmp_path_factory.mktemp('nano')
    cfg = Config.fromfile(ROOT / 'configs/supervised/supervised_shapes_5p.py')
    _use_data(cfg._cfg_dict, str(shapes_root))
    cfg.dump(str(folder / 'nano.py'))
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    torch.save(
        dict(
            state_dict=model.state_dict(),
            meta=dict(dataset_meta=dict(classes=CLASSES)),
        ),
        folder / 'nano.pth',
    )
    return folder / 'nano.py', folder / 'nano.pth'


@pytest.fixture
def options(nano_config, shapes_root) -> dict:
    """Arguments for the 8 unlabelled images of Shapes."""
    return dict(
        config=nano_config[0],
        checkpoint=nano_config[1],
        images=shapes_root / 'annotations/semi/seed0@5-unlabeled.json',
        image_root=shapes_root / 'leftImg8bit/train',
        score_thr=0.0,
        max_per_image=5,
        workers=0,
    )


def _generate(out: Path, **options) -> dict:
    PseudoLabelGenerator(**options).generate(out)
    return json.loads(out.read_text())


def test_file__is_a_data_set(options, tmp_path, shapes_config):
    """COCO reads it, and it trains the student of stage 2."""
    from mmengine.runner import Runner

    options |= dict(non_overlapping=True, batch_size=3)
    out = tmp_path / 'out.json'
    data = _generate(out, **options)
    images = json.loads(options['images'].read_text())['images']
    assert data['images'] == images
    assert [c['name'] for c in data['categories']] == list(CLASSES)
    assert [a['id'] for a in data['annotations']] == list(
        range(1, 1 + len(data['annotations']))
    )
    per_image = [
        [a for a in data['annotations'] if a['image_id'] == i['id']]
        for i in images
    ]
    assert 0 < max(map(len, per_image)) <= 5
    coco = COCO(str(out))
    for items in per_image:
        scores = [a['score'] for a in items]
        assert scores == sorted(scores, reverse=True)
        masks = [coco.annToMask(a) for a in items]
        if masks:
            assert np.sum(masks, 0).max() == 1  # no overlap
        areas = [a['area'] for a in items]
        assert [m.sum() for m in masks] == areas and all(areas)
    assert not out.with_name('out.json.parts').exists()

    cfg = shapes_config('sskd_distill_shapes_5p', iters=1)
    cfg.train_dataloader.dataset.unlabeled.ann_file = str(out)
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert 'train/unsup_loss_mask' in scalars


def test_keep_or_set_aside(options, tmp_path, capsys):
    """The same teacher and options, others, an edited and a foreign file."""
    out = tmp_path / 'out.json'
    assert not keep_or_set_aside(out, {})
    data = _generate(out, **options)

    def settings(**changes) -> dict:
        return PseudoLabelGenerator(**options | changes).settings

    # Rounding at most; nothing; another folder of the same weights.
    assert keep_or_set_aside(out, settings(batch_size=2, workers=1))
    copy = shutil.copy(options['checkpoint'], tmp_path / 'copy.pth')
    assert keep_or_set_aside(out, settings(checkpoint=copy))
    assert keep_or_set_aside(
        out, settings(cfg_options={'train_cfg.max_iters': 3})
    )
    text = out.read_text()
    assert not keep_or_set_aside(out, settings(score_thr=0.2))
    assert 'score_thr 0.0 instead of 0.2' in capsys.readouterr().out
    assert not out.exists()
    assert (tmp_path / 'out.json.old').read_text() == text

    other = torch.load(options['checkpoint'], weights_only=True)
    other['meta']['epoch'] = 1
    torch.save(other, copy)
    data['annotations'] = data['annotations'][1:]
    out.write_text(json.dumps(data))
    assert keep_or_set_aside(out, settings())  # edited, of the same teacher
    with pytest.raises(ValueError, match='edited, and has another checkpoint'):
        keep_or_set_aside(out, settings(checkpoint=copy))
    del data['info']
    out.write_text(json.dumps(data))
    with pytest.raises(ValueError, match='was not made by this version'):
        keep_or_set_aside(out, settings())


def test_resume__no_image_is_done_twice(monkeypatch, options, tmp_path):
    """Stopped after three images, in the middle of a line."""
    whole = _generate(tmp_path / 'out.json', **options)
    again = tmp_path / 'again.json'
    done, real = [], PseudoLabelParts.add

    def stop(self, rows):
        if len(done) == 3:
            with self.file.open('a') as f:
                f.write('{"image": 7, "annot')
            raise KeyboardInterrupt
        rows = list(rows)
        done.extend(image for image, _ in rows)
        real(self, rows)

    monkeypatch.setattr(PseudoLabelParts, 'add', stop)
    with pytest.raises(KeyboardInterrupt):
        _generate(again, **options)
    assert not again.exists()

    def count(self, rows):
        rows = list(rows)
        done.extend(image for image, _ in rows)
        real(self, rows)

    monkeypatch.setattr(PseudoLabelParts, 'add', count)
    with pytest.raises(ValueError, match='another score_thr'):
        _generate(again, **options | dict(score_thr=0.2))
    found = _generate(again, **options)
    assert sorted(done) == sorted(i['id'] for i in whole['images'])
    assert found['annotations'] == whole['annotations']
    with pytest.raises(FileExistsError, match='is there already'):
        _generate(again, **options)


def test_parts__torn_line_of_another_process(tmp_path):
    """A run of two processes was stopped; one process resumes it."""
    out = tmp_path / 'out.json'
    PseudoLabelParts(out, {}).add([(1, [])])
    torn = tmp_path / 'out.json.parts/1.jsonl'
    torn.write_text('{"image": 2, "annotations": []}\n{"image": 3, "anno')
    assert PseudoLabelParts(out, {}).read() == {1: [], 2: []}


def test_meta__that_is_not_plain(options, tmp_path):
    """The classes of the config replace those that cannot be read."""
    file = torch.load(options['checkpoint'], weights_only=True)
    cfg = Config.fromfile(options['config'])
    numpy = dict(dataset_meta=dict(classes=np.array(CLASSES)))
    for meta in (None, numpy):
        torch.save(file | dict(meta=meta), tmp_path / 'x.pth')
        _, classes = load_model(cfg, tmp_path / 'x.pth')
        assert classes == list(CLASSES)


def test_refine__bad_file_before_the_first_image(options, tmp_path):
    bad = tmp_path / 'bad.pt'
    bad.write_text('no weights')
    options |= dict(refine=['nano_sam2', str(bad)], score_thr=1.0)
    with pytest.raises(ValueError, match=r'bad\.pt cannot be read'):
        _generate(tmp_path / 'out.json', **options)
    assert not (tmp_path / 'out.json.parts').exists()


def test_missing_image__error_of_a_worker_is_short(options, tmp_path):
    options |= dict(workers=1, image_root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r'\.png') as e:
        _generate(tmp_path / 'out.json', **options)
    assert 'Traceback' not in str(e.value) and '\n' not in str(e.value)


def test_folder_and_refinement(options, tmp_path, shapes_root):
    """A folder of images instead of a file; masks of the nano SAM 2."""
    folder = tmp_path / 'images'
    folder.mkdir()
    files = sorted((shapes_root / 'leftImg8bit/val').rglob('*.png'))[:2]
    for file in files:
        shutil.copy(file, folder)
    options |= dict(images=folder, image_root=None)
    plain = _generate(tmp_path / 'plain.json', **options)
    options |= dict(refine=['nano_sam2', 'nano_sam2'])
    data = _generate(tmp_path / 'out.json', **options)
    assert [i['file_name'] for i in data['images']] == [f.name for f in files]
    assert [c['id'] for c in data['categories']] == list(range(1, 9))
    before, after = (
        [a['segmentation'] for a in d['annotations']] for d in (plain, data)
    )
    assert after and before != after


@pytest.mark.parametrize('network', ['teacher', 'student'])
def test_semi_supervised_checkpoint__chosen_network(
    options, tmp_path, shapes_config, network
):
    """What the plain model with the same weights gives."""
    plain = _generate(tmp_path / 'out.json', **options)
    file = torch.load(options['checkpoint'], weights_only=True)
    cfg = shapes_config('guided_distillation_shapes_5p')
    cfg.dump(str(tmp_path / 'semi.py'))
    state = MODELS.build(cfg.model).state_dict()
    state |= {f'{network}.{k}': v for k, v in file['state_dict'].items()}
    torch.save(dict(state_dict=state), tmp_path / 'semi.pth')
    options |= dict(
        config=tmp_path / 'semi.py',
        checkpoint=tmp_path / 'semi.pth',
        model=network,
    )
    chosen = _generate(tmp_path / 'semi.json', **options)
    assert plain['annotations'] == chosen['annotations']


def test_other_detectors__mask_rcnn(options, tmp_path, shapes_config):
    from nano import nano

    cfg = shapes_config('supervised_shapes_5p')
    cfg.model = nano('MaskRCNN')
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    cfg.model.test_cfg.rpn.max_per_img = 20
    cfg.dump(str(tmp_path / 'rcnn.py'))
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'rcnn.pth')
    options |= dict(
        config=tmp_path / 'rcnn.py', checkpoint=tmp_path / 'rcnn.pth'
    )
    assert _generate(tmp_path / 'out.json', **options)['images']


def test_views__flip_and_scale(options, tmp_path):
    options |= dict(flip=True, scales=[1.0, 1.5])
    assert _generate(tmp_path / 'out.json', **options)['annotations']


@pytest.mark.parametrize(
    ('change', 'error', 'word'),
    [
        (dict(checkpoint='none.pth'), FileNotFoundError, 'does not exist'),
        (dict(images='none.json'), FileNotFoundError, 'neither a file'),
        (dict(image_root=None), ValueError, '--image-root'),
        (dict(refine=['nano_sam2']), ValueError, '--refine takes'),
        (dict(refine=[]), ValueError, '--refine takes'),
        (dict(model='both'), ValueError, 'teacher or student'),
        (dict(scales=[0.0]), ValueError, 'must be positive'),
        (dict(class_thr=dict(cat=0.5)), ValueError, 'are no classes'),
        (dict(score_thr=1.5), ValueError, 'must be in 0..1'),
    ],
)
def test_bad_input(options, tmp_path, change, error, word):
    with pytest.raises(error, match=word):
        _generate(tmp_path / 'out.json', **options | change)
    assert not (tmp_path / 'out.json').exists()


def test_foreign_checkpoint_and_categories(options, tmp_path):
    file = tmp_path / 'foreign.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(2))), file)
    with pytest.raises(ValueError, match='missing'):
        _generate(tmp_path / 'out.json', **options | dict(checkpoint=file))
    data = json.loads(options['images'].read_text())
    data['categories'] = data['categories'][1:]
    (tmp_path / 'few.json').write_text(json.dumps(data))
    options |= dict(images=tmp_path / 'few.json')
    with pytest.raises(ValueError, match=r"categories \['person'\]"):
        _generate(tmp_path / 'out.json', **options)
