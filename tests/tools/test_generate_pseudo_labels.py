# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels as a file, and their comparison with the truth."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import evaluate_pseudo_labels as evaluation
import generate_pseudo_labels as tool
import numpy as np
import pytest
import torch
from conftest import CLASSES, ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from s4m.datasets.coco_io import annotation, encode_masks


@pytest.fixture(scope='session')
def nano_config(shapes_root, tmp_path_factory):
    """A supervised nano model: config file and checkpoint."""
    from conftest import _use_data
    from mmengine.config import Config

    folder = tmp_path_factory.mktemp('nano')
    cfg = Config.fromfile(ROOT / 'configs/shapes/supervised_shapes_5p.py')
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
def command(nano_config, shapes_root, tmp_path):
    """Command line on the 8 unlabelled images of Shapes."""
    config, checkpoint = nano_config
    semi = shapes_root / 'annotations/semi/seed0@5-unlabeled.json'
    return [
        str(config),
        str(checkpoint),
        *('--images', str(semi)),
        *('--image-root', str(shapes_root / 'leftImg8bit/train')),
        *('--out', str(tmp_path / 'out.json')),
        *('--score-thr', '0.0', '--max-per-image', '5', '--workers', '0'),
    ]


def _run(monkeypatch, command):
    monkeypatch.setattr('sys.argv', ['generate_pseudo_labels.py', *command])
    tool.main()


def test_file__is_a_data_set(monkeypatch, command, tmp_path, shapes_config):
    """COCO reads it, and it trains the student of stage 2."""
    from mmengine.runner import Runner

    command += ['--non-overlapping', '--batch-size', '3']
    _run(monkeypatch, command)
    out = tmp_path / 'out.json'
    assert tool.keep_or_set_aside(out, [*command, '--batch-size', '2'])
    data = json.loads(out.read_text())
    images = json.loads(open(command[3]).read())['images']
    assert data['images'] == images
    assert [c['name'] for c in data['categories']] == list(CLASSES)
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
        assert all(m.sum() == a['area'] > 0 for m, a in zip(
            masks, items, strict=True))  # fmt: skip
    assert not out.with_name('out.json.parts').exists()

    cfg = shapes_config('sskd_distill_shapes_5p', iters=1)
    cfg.train_dataloader.dataset.unlabeled.ann_file = str(out)
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert 'train/unsup_loss_mask' in scalars


def test_resume__no_image_is_done_twice(monkeypatch, command, tmp_path):
    """Stopped after three images, in the middle of a line."""
    _run(monkeypatch, command)
    whole = json.loads((tmp_path / 'out.json').read_text())
    again = [*command]
    again[again.index('--out') + 1] = str(tmp_path / 'again.json')
    done, real = [], tool.Parts.add

    def stop(self, rows):
        if len(done) == 3:
            with self.file.open('a') as f:
                f.write('{"image": 7, "annot')
            raise KeyboardInterrupt
        done.extend(image for image, _ in rows)
        real(self, rows)

    monkeypatch.setattr(tool.Parts, 'add', stop)
    with pytest.raises(KeyboardInterrupt):
        _run(monkeypatch, again)
    assert not (tmp_path / 'again.json').exists()

    def count(self, rows):
        done.extend(image for image, _ in rows)
        real(self, rows)

    monkeypatch.setattr(tool.Parts, 'add', count)
    with pytest.raises(SystemExit, match='another score_thr'):
        _run(monkeypatch, [*again, '--score-thr', '0.2'])
    _run(monkeypatch, again)
    found = json.loads((tmp_path / 'again.json').read_text())
    assert sorted(done) == sorted(i['id'] for i in whole['images'])
    assert found['annotations'] == whole['annotations']
    with pytest.raises(SystemExit, match='is there already'):
        _run(monkeypatch, again)


@pytest.mark.slow
def test_two_processes__same_file(monkeypatch, command, tmp_path):
    """tools/dist_generate_pseudo_labels.sh over gloo."""
    _run(monkeypatch, command)
    other = [*command]
    other[other.index('--out') + 1] = str(tmp_path / 'two.json')
    # The launcher's `python` is this one.
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    env = dict(os.environ, PATH=path)
    script = ROOT / 'tools/dist_generate_pseudo_labels.sh'
    env.update(PORT='29617', OMP_NUM_THREADS='1')
    result = subprocess.run(
        ['bash', str(script), other[0], other[1], '2', *other[2:]],
        env=env,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    one = json.loads((tmp_path / 'out.json').read_text())
    two = json.loads((tmp_path / 'two.json').read_text())
    assert one['annotations'] == two['annotations']


def test_folder_and_refinement(monkeypatch, command, tmp_path, shapes_root):
    """A folder of images instead of a file; masks of the nano SAM 2."""
    folder = tmp_path / 'images'
    folder.mkdir()
    files = sorted((shapes_root / 'leftImg8bit/val').rglob('*.png'))[:2]
    for file in files:
        shutil.copy(file, folder)
    rest = command[command.index('--out') :]
    base = [*command[:2], '--images', str(folder), *rest]
    _run(monkeypatch, [*base, '--refine', 'nano_sam2', 'nano_sam2'])
    data = json.loads((tmp_path / 'out.json').read_text())
    assert [i['file_name'] for i in data['images']] == [f.name for f in files]
    assert [c['id'] for c in data['categories']] == list(range(1, 9))
    assert data['annotations']


@pytest.mark.parametrize('network', ['teacher', 'student'])
def test_semi_supervised_checkpoint__chosen_network(
    monkeypatch, command, tmp_path, shapes_config, network
):
    """What the plain model with the same weights gives."""
    _run(monkeypatch, command)
    weights = torch.load(command[1], weights_only=True)['state_dict']
    cfg = shapes_config('guided_distillation_shapes_5p')
    cfg.dump(str(tmp_path / 'semi.py'))
    state = MODELS.build(cfg.model).state_dict()
    state |= {f'{network}.{k}': v for k, v in weights.items()}
    torch.save(dict(state_dict=state), tmp_path / 'semi.pth')
    semi = [str(tmp_path / 'semi.py'), str(tmp_path / 'semi.pth')]
    semi += [*command[2:], '--model', network]
    semi[semi.index('--out') + 1] = str(tmp_path / 'semi.json')
    _run(monkeypatch, semi)
    plain, chosen = (
        json.loads((tmp_path / f'{name}.json').read_text())['annotations']
        for name in ('out', 'semi')
    )
    assert plain == chosen


def test_other_detectors__mask_rcnn(
    monkeypatch, command, tmp_path, shapes_config
):
    from nano import nano

    cfg = shapes_config('supervised_shapes_5p')
    cfg.model = nano('MaskRCNN')
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    cfg.model.test_cfg.rpn.max_per_img = 20
    cfg.dump(str(tmp_path / 'rcnn.py'))
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'rcnn.pth')
    command[:2] = [str(tmp_path / 'rcnn.py'), str(tmp_path / 'rcnn.pth')]
    _run(monkeypatch, command)
    assert json.loads((tmp_path / 'out.json').read_text())['images']


def test_no_checkpoint__weights_of_the_config(
    monkeypatch, command, tmp_path, nano_config
):
    """As for a zero-shot teacher; testing reads ``none`` too."""
    command[1] = 'none'
    _run(monkeypatch, command)
    assert (tmp_path / 'out.json').is_file()
    metrics = tmp_path / 'metrics.json'
    arguments = [str(nano_config[0]), 'none', '--json', str(metrics)]
    arguments += ['--work-dir', str(tmp_path / 'work')]
    monkeypatch.setattr('sys.argv', ['test.py', *arguments])
    spec = importlib.util.spec_from_file_location(
        'test_tool', ROOT / 'tools/test.py'
    )
    test_tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(test_tool)
    test_tool.main()
    assert 'coco/segm_mAP' in json.loads(metrics.read_text())['model']


def test_views__flip_and_scale(monkeypatch, command, tmp_path):
    """A mirrored view of a model that marks the left is on the right."""
    _run(monkeypatch, [*command, '--flip', '--scales', '1.0', '1.5'])
    assert json.loads((tmp_path / 'out.json').read_text())['annotations']
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 32), keep_ratio=True),
        dict(type='PackDetInputs'),
    ]
    view = tool.view_pipeline(steps, 1.5, True)
    assert view[1]['scale'] == (96, 48)
    assert view[2] == dict(type='RandomFlip', prob=1.0)
    assert steps[1]['scale'] == (64, 32)
    with pytest.raises(SystemExit, match='need a Resize'):
        tool.view_pipeline([dict(type='PackDetInputs')], 2.0, False)


def _instances(*boxes, scores, labels, size=(20, 40)):
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (y0, y1, x0, x1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return InstanceData(
        masks=masks,
        scores=torch.tensor(scores),
        labels=torch.tensor(labels),
    )


def test_merge_views__hand_computed():
    plain = _instances(
        (0, 10, 0, 10), (10, 20, 0, 10), scores=[0.6, 0.5], labels=[0, 1]
    )
    # Mirrored: the first object again with more confidence, another class
    # at the second one's place, and one that the plain view missed.
    turned = _instances(
        (0, 10, 31, 40), (10, 20, 30, 40), (0, 10, 0, 10),
        scores=[0.9, 0.4, 0.3], labels=[0, 0, 1],
    )  # fmt: skip
    merged = tool.merge_views([plain, turned], [False, True])
    assert merged.scores.tolist() == pytest.approx([0.9, 0.5, 0.4, 0.3])
    assert merged.labels.tolist() == [0, 1, 0, 1]
    assert merged.masks[0, 0].nonzero()[:, 0].tolist() == list(range(9))
    assert merged.masks[3, 0].nonzero()[:, 0].tolist() == list(range(30, 40))


def test_without_overlap__best_score_wins():
    item = _instances(
        (0, 10, 0, 10), (0, 10, 5, 20), (0, 10, 2, 4),
        scores=[0.5, 0.4, 0.3], labels=[0, 1, 2],
    )  # fmt: skip
    out = tool.without_overlap(item)
    by_label = {int(k): m for k, m in zip(out.labels, out.masks, strict=True)}
    assert set(by_label) == {0, 1}  # the third has no pixel left
    assert by_label[0].sum() == 100 and by_label[1].sum() == 100
    assert not (by_label[0] & by_label[1]).any()


def test_selector__thresholds_of_classes_and_area():
    args = argparse.Namespace(
        score_thr=0.5, class_thr={'b': 0.2}, min_area=50,
        max_per_image=2, non_overlapping=False,
    )  # fmt: skip
    select = tool.Selector(args, ['a', 'b'], None)
    sample = DetDataSample(metainfo=dict(ori_shape=(20, 40)))
    pred = _instances(
        (0, 10, 0, 10), (0, 10, 0, 10), (0, 10, 0, 10), (0, 5, 0, 10),
        (0, 10, 0, 10),
        scores=[0.4, 0.3, 0.9, 0.99, 0.6], labels=[0, 1, 1, 0, 0],
    )  # fmt: skip
    out = select(pred, sample)
    assert out.scores.tolist() == pytest.approx([0.9, 0.6])
    args.class_thr = {'c': 0.1}
    with pytest.raises(SystemExit, match='are no classes'):
        tool.Selector(args, ['a', 'b'], None)


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (lambda c: c.__setitem__(1, 'none.pth'), 'does not exist'),
        (lambda c: c.__delitem__(slice(4, 6)), '--image-root'),
        (lambda c: c.extend(['--refine']), '--refine takes'),
    ],
)
def test_bad_input(monkeypatch, command, tmp_path, change, word):
    change(command)
    with pytest.raises(SystemExit, match=word):
        _run(monkeypatch, command)
    assert not (tmp_path / 'out.json').exists()


def test_foreign_checkpoint_and_categories(monkeypatch, command, tmp_path):
    file = tmp_path / 'foreign.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(2))), file)
    own = command[1]
    command[1] = str(file)
    with pytest.raises(SystemExit, match='does not fit the config: missing'):
        _run(monkeypatch, command)
    data = json.loads(open(command[3]).read())
    data['categories'] = data['categories'][1:]
    (tmp_path / 'few.json').write_text(json.dumps(data))
    command[1], command[3] = own, str(tmp_path / 'few.json')
    with pytest.raises(SystemExit, match=r"categories \['person'\]"):
        _run(monkeypatch, command)


# -------------------------------------------------------------- comparison
def _coco(items, classes=('a', 'b')):
    """(image, class, box, score or None) as a COCO dictionary."""
    annotations = []
    for image, kind, (y0, y1, x0, x1), score in items:
        mask = np.zeros((1, 20, 40), bool)
        mask[0, y0:y1, x0:x1] = True
        (rle,) = encode_masks(mask)
        fields = {} if score is None else dict(score=score)
        fields['id'] = len(annotations) + 1
        annotations.append(annotation(image, kind, rle, **fields))
    return dict(
        images=[
            dict(id=i, file_name=f'{i}.png', height=20, width=40)
            for i in (1, 2)
        ],
        categories=[dict(id=i + 1, name=n) for i, n in enumerate(classes)],
        annotations=annotations,
    )


TRUTH = [
    (1, 1, (0, 10, 0, 10), None),
    (1, 2, (10, 20, 20, 40), None),
    (2, 2, (0, 10, 0, 20), None),
]


def test_evaluate__hand_computed():
    """One exact, one of the wrong class with IoU 0.5, one missed."""
    found = _coco([(1, 1, (0, 10, 0, 10), 0.9), (1, 1, (10, 20, 20, 30), 0.8)])
    # Other ids of the same categories.
    found['categories'] = [dict(id=2, name='b'), dict(id=1, name='a')]
    result = evaluation.evaluate(found, _coco(TRUTH), {1: 1, 2: 2})
    figures = result['figures']
    assert figures['pseudo_labels'] == 2 and figures['per_image'] == 1
    assert figures['class_accuracy'] == 50
    assert figures['mask_iou'] == 75
    assert figures['confusion'] == [[1, 0], [1, 0], [0, 0]]
    assert figures['mask_ap'] == 50
    assert figures['per_class']['a']['mask_ap'] == 100
    assert figures['per_class']['b']['mask_ap'] == 0
    # Image 1: a wrong one and a missed one; image 2: a missed one.
    assert result['badness'] == {1: 2, 2: 1}


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (lambda d: d['annotations'][0].pop('score'), 'has no score'),
        (lambda d: d['annotations'][0].update(image_id=9), 'is of image 9'),
        (lambda d: d['annotations'][0].update(category_id=9), 'category 9'),
        (
            lambda d: d['annotations'][0]['segmentation'].update(
                size=[10, 80]
            ),
            'mask of 10 x 80 pixels, its image 1 is 20 x 40',
        ),
        (lambda d: d['images'].append(d['images'][0]), 'more than once'),
        (lambda d: d['images'][0].update(file_name='x'), 'has the image x'),
        (lambda d: d['categories'][0].update(name='x'), r"\['x'\]"),
        (lambda d: d['images'][1].update(height=2), 'is 2 x 40'),
    ],
)
def test_bad_predictions(tmp_path, change, word):
    found = _coco([(1, 1, (0, 10, 0, 10), 0.9)])
    change(found)
    file = tmp_path / 'found.json'
    file.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=word):
        data = evaluation.load_predictions(file)
        evaluation.match(data, _coco(TRUTH), ('found', 'truth'))


def test_command__writes_figures_and_pictures(tmp_path, monkeypatch):
    found = _coco([(1, 1, (0, 10, 0, 10), 0.9)])
    for name, data in (('found', found), ('truth', _coco(TRUTH))):
        (tmp_path / f'{name}.json').write_text(json.dumps(data))
    for i in (1, 2):
        image = np.full((20, 40, 3), 128, np.uint8)
        cv2.imwrite(str(tmp_path / f'{i}.png'), image)
    command = [str(tmp_path / 'found.json')]
    command += ['--ann', str(tmp_path / 'truth.json')]
    command += ['--image-root', str(tmp_path), '--out', str(tmp_path / 'q')]
    monkeypatch.setattr('sys.argv', ['evaluate_pseudo_labels.py', *command])
    evaluation.main()
    figures = json.loads((tmp_path / 'q/quality.json').read_text())
    assert figures['mask_iou'] == 100
    grid = cv2.imread(str(tmp_path / 'q/worst.png'))
    assert grid.shape == (2 * 256, 1024, 3)
    assert (tmp_path / 'q/confusion.png').is_file()


def test_annotations__round_trip():
    masks = np.zeros((2, 6, 8), bool)
    masks[0, 1:3, 2:5] = True
    pred = InstanceData(
        masks=torch.from_numpy(masks),
        labels=torch.tensor([1, 0]),
        scores=torch.tensor([0.25, 0.5]),
    )
    from s4m.datasets.coco_io import instance_annotations

    (item,) = instance_annotations(pred, 7, [10, 20])  # no empty mask
    assert item['bbox'] == [2, 1, 3, 2] and item['area'] == 6
    assert (item['image_id'], item['category_id']) == (7, 20)
    assert item['score'] == 0.25
    assert (mask_utils.decode(item['segmentation']) == masks[0]).all()
