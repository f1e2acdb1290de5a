# SPDX-License-Identifier: Apache-2.0
"""Published models work without the plugin."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import CLASSES
from mmdet.apis import DetInferencer
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from s4m.apis.config import get_config
from s4m.apis.publish import plain_config, publish, select_weights


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
from mmdet.registry import METRICS
picture, result, *files = sys.argv[1:]
found = []
for config, weights in zip(files[::2], files[1::2]):
    inferencer = DetInferencer(config, weights, 'cpu')
    out = inferencer(picture, return_datasamples=True, no_save_vis=True)
    pred = out['predictions'][0].pred_instances
    for metric in inferencer.cfg.test_evaluator:
        METRICS.build(metric)
    found.append({k: pred[k].numpy() for k in ('scores', 'labels', 'masks')})
pickle.dump(found, open(result, 'wb'))
"""


def test_publish__same_predictions_without_the_plugin(
    semi_run, shapes_root, tmp_path
):
    config, checkpoint, model = semi_run
    picture = str(next((shapes_root / 'leftImg8bit/val').glob('*/*.png')))
    result = tmp_path / 'pred.pkl'
    command = [sys.executable, '-c', PLAIN, picture, str(result)]
    networks = ('student', 'teacher')
    for network in networks:
        weights, plain = publish(
            config, checkpoint, out=tmp_path / 'out', model=network
        )
        assert weights.stem.rpartition('-')[2].isalnum()
        saved = torch.load(weights, weights_only=True)
        assert set(saved) == {'meta', 'state_dict'}
        want = getattr(model, network).state_dict()
        assert saved['state_dict'].keys() == want.keys()
        command += [str(plain), str(weights)]
    subprocess.run(command, check=True, cwd=tmp_path)

    inferencer = DetInferencer(str(config), str(checkpoint), 'cpu')
    others = pickle.loads(result.read_bytes())
    for network, other in zip(networks, others, strict=True):
        inferencer.model.semi_test_cfg['predict_on'] = network
        out = inferencer(picture, return_datasamples=True, no_save_vis=True)
        pred = out['predictions'][0].pred_instances
        for key, value in other.items():
            # MMDetection's attention rounds otherwise than the fused one.
            np.testing.assert_allclose(pred[key].numpy(), value, rtol=1e-4)


@pytest.mark.parametrize(
    'meta',
    [
        None,
        dict(
            seed=np.int64(3),
            iter=9,
            dataset_meta=dict(
                classes=np.array(CLASSES), palette=np.zeros((8, 3))
            ),
        ),
    ],
)
def test_publish__meta_that_is_not_plain(semi_run, tmp_path, meta):
    config, checkpoint, _ = semi_run
    source = torch.load(checkpoint, weights_only=True)
    torch.save(source | dict(meta=meta), checkpoint)
    weights, _ = publish(config, checkpoint, out=tmp_path / 'out')
    saved = torch.load(weights, weights_only=True)['meta']
    assert saved.pop('dataset_meta') == dict(classes=tuple(CLASSES))
    assert saved == (dict(iter=9) if meta else {})


def test_publish__config_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'x\.pth does not exist'):
        publish('supervised_shapes_5p', tmp_path / 'x.pth')


def test_plain_config__maskformer_needs_no_plugin():
    cfg = plain_config(
        get_config('guided_distillation_maskformer_cityscapes_10p')
    )
    assert cfg.model.panoptic_head.type == 'MaskFormerHead'
    assert 'custom_imports' not in cfg


def test_publish__wrong_checkpoint(semi_run, tmp_path):
    config, _, _ = semi_run
    torch.save({'state_dict': {'x': torch.ones(1)}}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='does not fit'):
        publish(config, tmp_path / 'x.pth', out=tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    torch.save([1], tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='holds a list'):
        publish(config, tmp_path / 'x.pth', out=tmp_path / 'out')
    with pytest.raises(ValueError, match='has no teacher'):
        select_weights({'student.a': 1}, 'teacher')


@pytest.mark.parametrize('stage', ['distill', 'teacher_adapt'])
def test_publish__without_the_contrastive_loss(shapes_config, tmp_path, stage):
    """What MMDetection does not have keeps its class and imports s4m."""
    cfg = shapes_config(f'sskd_{stage}_shapes_5p')
    cfg.test_cfg.type = 'TestLoop'
    cfg.dump(str(tmp_path / 'sskd.py'))
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'sskd.pth')
    weights, file = publish(
        tmp_path / 'sskd.py', tmp_path / 'sskd.pth', out=tmp_path / 'out'
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


def test_config__without_checkpointing():
    """MMDetection's pixel decoder has no such switch."""
    cfg = get_config('supervised_cityscapes_10p')
    cfg.model.panoptic_head.pixel_decoder.with_cp = True
    plain = plain_config(cfg)
    decoder = plain.model.panoptic_head.pixel_decoder
    assert decoder.type == 'MSDeformAttnPixelDecoder'
    assert 'with_cp' not in decoder


def test_config__of_a_teacher_needs_no_plugin():
    """Structural distillation reads pixels; the published network does not."""
    for name in ('s4m_teacher_shapes_5p', 's4m_teacher_cityscapes_10p'):
        plain = plain_config(get_config(name))
        assert 'custom_imports' not in plain
        assert plain.model.data_preprocessor.type == 'DetDataPreprocessor'
