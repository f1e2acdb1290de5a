# SPDX-License-Identifier: Apache-2.0
"""``s4m train`` on a few small images, from labels to a published model."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from s4m.apis.own_data import open_run, publish_network, train
from s4m.apis.pipeline import StageError

SETTINGS = dict(
    model='mask2former_nano', size=64, iters=4, validations=1, queries=20
)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Nine pictures with a bright square, six of them labelled."""
    root = tmp_path_factory.mktemp('own')
    (root / 'my photos').mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(9):
        picture = rng.integers(0, 80, (64, 80, 3), np.uint8)
        x, y = rng.integers(4, 30, 2).tolist()
        picture[y : y + 24, x : x + 24] = 250
        name = f'photo {i}.png'
        cv2.imwrite(str(root / 'my photos' / name), picture)
        if i < 6:
            images.append(dict(id=i + 1, file_name=name, height=64, width=80))
            annotations.append(
                dict(
                    id=i + 1,
                    image_id=i + 1,
                    category_id=7,
                    bbox=[x, y, 24, 24],
                    area=576,
                    iscrowd=0,
                    segmentation=[
                        [x, y, x + 24, y, x + 24, y + 24, x, y + 24]
                    ],
                )
            )
    labels = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=7, name='square')],
    )
    (root / 'labels.json').write_text(json.dumps(labels))
    return root


def call(photos, out, **others):
    arguments = dict(
        images=photos / 'my photos', method='guided_distillation', **SETTINGS
    )
    return train(photos / 'labels.json', out=out, **(arguments | others))


@pytest.fixture(scope='module')
def run(photos):
    return call(photos, photos / 'runs' / 'squares')


def test_everything_that_was_promised_is_there(run):
    for name in (
        'config.py',
        'supervised.py',
        'model.pth',
        'model.py',
        'pseudo_labels.json',
        'report.html',
        'log',
    ):
        assert (run.out / name).stat().st_size > 0, name
    assert set(run.ap) == {'supervised', 'student', 'teacher'}
    assert run.best in run.ap and run.ap[run.best] == max(run.ap.values())
    info = open_run(run.out).read()
    assert info['classes'] == ['square'] and info['best'] == run.best
    assert {d['setting'] for d in info['decisions']} >= {'model', 'size'}
    labels = json.loads((run.out / 'pseudo_labels.json').read_text())
    # Three of nine photos have no label; three labelled ones are held out.
    assert len(labels['images']) == 3
    log = (run.out / 'log').read_text()
    assert 'labelled: 3 images, 3 objects (square 3)' in log
    assert 'mask2former_nano' in log


def test_the_model_is_plain_mmdetection(run, photos):
    text = run.config.read_text()
    assert 'SemiInstanceSegmentor' not in text and 'Distill' not in text
    model = init_detector(str(run.config), str(run.model), device='cpu')
    assert model.dataset_meta['classes'] == ('square',)
    file = photos / 'my photos' / 'photo 0.png'
    masks = inference_detector(model, str(file)).pred_instances.masks
    assert masks.shape[1:] == (64, 80)
    stored = torch.load(run.model, weights_only=True)['state_dict']
    assert not any(k.startswith(('student', 'teacher')) for k in stored)


def test_the_same_call_does_nothing_again(run, photos):
    file = run.out / 'stages/student/iter_4.pth'
    before = file.stat().st_mtime
    again = call(photos, run.out)
    assert again.ap == run.ap and file.stat().st_mtime == before
    # Without arguments the run goes on, too.
    assert train(out=run.out).best == run.best


def test_other_arguments_are_refused(run, photos):
    with pytest.raises(ValueError, match=r'other arguments .*iters 4, now 5'):
        call(photos, run.out, iters=5)
    with pytest.raises(ValueError, match='is no run of s4m train'):
        call(photos, photos / 'my photos')
    with pytest.raises(ValueError, match='--labeled'):
        train(out=photos / 'nothing')


def test_an_edited_config_is_trained(run, photos):
    (photos / 'edited').mkdir()
    for name in ('config.py', 'supervised.py', 'start.pth'):
        data = (run.out / name).read_bytes()
        (photos / 'edited' / name).write_bytes(
            data.replace(b'max_iters = 4', b'max_iters = 2')
        )
    result = call(
        photos, photos / 'runs/2', config=photos / 'edited/config.py'
    )
    assert (result.out / 'stages/student/iter_2.pth').is_file()


def test_a_network_is_published_by_name(run, tmp_path):
    config, weights = publish_network(run.out, tmp_path, 'teacher')
    assert config.is_file() and weights.is_file()
    with pytest.raises(ValueError, match='no network x; it has supervised'):
        publish_network(run.out, tmp_path, 'x')


def test_a_failure_names_the_log(run, photos):
    broken = photos / 'broken.py'
    broken.write_text("_base_ = 's4m::nowhere.py'\n")
    with pytest.raises(ValueError, match=r'--config .*broken.py cannot be'):
        call(photos, photos / 'runs/3', config=broken)
    (photos / 'wrong').mkdir()
    for name in ('config.py', 'supervised.py', 'start.pth'):
        text = (run.out / name).read_bytes()
        (photos / 'wrong' / name).write_bytes(
            text.replace(b'lr=0.001', b"lr='fast'")
        )
    with pytest.raises(StageError, match=r'train.log, which ends with'):
        call(photos, photos / 'runs/3', config=photos / 'wrong/config.py')


def test_a_supervised_run_without_validation(photos):
    data = json.loads((photos / 'labels.json').read_text())
    data['images'] = data['images'][:4]
    data['annotations'] = data['annotations'][:4]
    (photos / 'four.json').write_text(json.dumps(data))
    result = train(
        photos / 'four.json',
        images=photos / 'my photos',
        out=photos / 'runs/4',
        method='supervised',
        **SETTINGS,
    )
    assert result.ap == {} and result.best == 'supervised'
    assert result.model.is_file()
    assert not (result.out / 'supervised.py').exists()
