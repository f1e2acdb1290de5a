# SPDX-License-Identifier: Apache-2.0
"""Published models work without the plugin; inference writes COCO JSON."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import CLASSES, ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from pycocotools.coco import COCO


@pytest.fixture
def semi_run(shapes_config, tmp_path):
    """Config file and checkpoint of a random semi-supervised model."""
    cfg = shapes_config('guided_distillation_shapes_5p')
    cfg.test_cfg.type = 'TestLoop'
    path = tmp_path / 'semi.py'
    cfg.dump(str(path))
    torch.manual_seed(3)
    model = MODELS.build(cfg.model)
    for network in (model.student, model.teacher):
        network.init_weights()
    meta = dict(dataset_meta=dict(classes=CLASSES, palette='random'))
    file = tmp_path / 'semi.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, file)
    return path, file, model


# Runs without this plugin on the path: MMDetection alone.
PLAIN = """
import sys, pickle
sys.modules['s4m'] = None
from mmdet.apis import DetInferencer
inferencer = DetInferencer(sys.argv[1], sys.argv[2], 'cpu')
out = inferencer(sys.argv[3], return_datasamples=True, no_save_vis=True)
pred = out['predictions'][0].pred_instances
pickle.dump({k: pred[k].numpy() for k in ('scores', 'labels', 'masks')},
            open(sys.argv[4], 'wb'))
"""


@pytest.mark.parametrize('network', ['student', 'teacher'])
def test_publish__identical_predictions_without_the_plugin(
    semi_run, shapes_root, tmp_path, network
):
    import pickle

    from mmdet.apis import DetInferencer
    from publish_model import publish

    config, checkpoint, model = semi_run
    weights, plain = publish(
        str(config), str(checkpoint), tmp_path / 'out', network
    )
    assert weights.stem.rpartition('-')[2].isalnum()
    saved = torch.load(weights, weights_only=True)
    assert set(saved) == {'meta', 'state_dict'}
    want = getattr(model, network).state_dict()
    assert saved['state_dict'].keys() == want.keys()

    picture = str(next((shapes_root / 'leftImg8bit/val').glob('*/*.png')))
    result = tmp_path / 'pred.pkl'
    subprocess.run(
        [
            sys.executable,
            '-c',
            PLAIN,
            str(plain),
            str(weights),
            picture,
            str(result),
        ],
        check=True,
    )
    other = pickle.loads(result.read_bytes())

    inferencer = DetInferencer(str(config), str(checkpoint), 'cpu')
    inferencer.model.semi_test_cfg['predict_on'] = network
    out = inferencer(picture, return_datasamples=True, no_save_vis=True)
    pred = out['predictions'][0].pred_instances
    for key, value in other.items():
        np.testing.assert_array_equal(pred[key].numpy(), value)


def test_publish__wrong_checkpoint(semi_run, tmp_path):
    from publish_model import publish, select_weights

    config, _, _ = semi_run
    torch.save({'state_dict': {'x': torch.ones(1)}}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='does not fit'):
        publish(str(config), str(tmp_path / 'x.pth'), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    with pytest.raises(ValueError, match='has no teacher'):
        select_weights({'student.a': 1}, 'teacher')


def test_infer__pictures_and_coco_json(semi_run, shapes_root, tmp_path):
    config, checkpoint, _ = semi_run
    folder = shapes_root / 'leftImg8bit/val'
    subprocess.run(
        [
            sys.executable,
            str(ROOT / 'tools/infer.py'),
            str(folder),
            str(config),
            str(checkpoint),
            '--out',
            str(tmp_path / 'out'),
            '--score-thr',
            '0.0',
            '--device',
            'cpu',
        ],
        check=True,
    )
    assert len(list((tmp_path / 'out/vis').iterdir())) == 4
    file = tmp_path / 'out/predictions.json'
    coco = COCO(str(file))
    assert len(coco.imgs) == 4 and len(coco.anns) > 0
    data = json.loads(file.read_text())
    assert data['categories'][0]['name'] == 'person'
    for ann in data['annotations']:
        mask = coco.annToMask(ann)
        assert mask.shape == (64, 128) and mask.sum() == ann['area']
        assert 0 <= ann['score'] <= 1


def test_infer__no_image(tmp_path):
    from infer import find_images

    with pytest.raises(FileNotFoundError, match='No image'):
        find_images(tmp_path)


@pytest.mark.parametrize('stage', ['distill', 'teacher_adapt'])
def test_publish__without_the_contrastive_loss(shapes_config, tmp_path, stage):
    """What MMDetection does not have keeps its class and imports s4m."""
    from mmengine.config import Config
    from publish_model import publish

    cfg = shapes_config(f'sskd_{stage}_shapes_5p')
    cfg.test_cfg.type = 'TestLoop'
    cfg.dump(str(tmp_path / 'sskd.py'))
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'sskd.pth')
    weights, file = publish(
        str(tmp_path / 'sskd.py'), str(tmp_path / 'sskd.pth'), tmp_path / 'out'
    )
    plain = Config.fromfile(file)
    assert plain.custom_imports.imports == ['s4m']
    assert 'loss_contrast' not in plain.model
    again = MODELS.build(plain.model).eval()
    again.load_state_dict(torch.load(weights)['state_dict'])
    inputs = dict(
        inputs=[torch.randint(0, 256, (3, 64, 128), dtype=torch.uint8)],
        data_samples=[
            DetDataSample(
                metainfo=dict(
                    img_shape=(64, 128),
                    ori_shape=(64, 128),
                    scale_factor=(1.0, 1.0),
                )
            )
        ],
    )
    (a,), (b,) = model.eval().test_step(inputs), again.test_step(inputs)
    for key in ('scores', 'labels', 'masks'):
        assert torch.equal(a.pred_instances[key], b.pred_instances[key])
