# SPDX-License-Identifier: Apache-2.0
"""A detector's boxes and a segmenter's masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from prompted_detectors import (
    build_model,
    make_sample,
    plant_boxes,
    teacher_config,
)
from s4m.models.data_preprocessors import to_rgb


@pytest.fixture
def config():
    """The nano teacher; ``adapt`` for stage 1a."""
    return teacher_config


def test_predict__equals_sam2s_predictor(config):
    """The image without padding, prompted with the same boxes."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    model = build_model(config()).eval()
    boxes = [[60.0, 8, 120, 60], [8.0, 8, 50, 40]]
    plant_boxes(model, boxes, [0.5, 0.9], [3, 1])
    rgb = torch.randint(0, 256, (1, 3, 64, 128)).float()
    inputs = model.data_preprocessor.normalize(rgb)
    torch.testing.assert_close(to_rgb(model.data_preprocessor, inputs), rgb)
    with torch.no_grad():
        (out,) = model.predict(inputs, [make_sample()])
    pred = out.pred_instances
    assert pred.scores.tolist() == pytest.approx([0.9, 0.5])
    assert pred.labels.tolist() == [1, 3]
    predictor = SAM2ImagePredictor(model.segmenter.model)
    predictor._bb_feat_sizes = [(64, 64), (32, 32), (16, 16)]
    predictor.set_image(rgb[0].permute(1, 2, 0).byte().numpy())
    for mask, box in zip(pred.masks, reversed(boxes), strict=True):
        want, _, _ = predictor.predict(
            box=torch.tensor(box).numpy(), multimask_output=False
        )
        want = torch.from_numpy(want[0] > 0)
        iou = (mask & want).sum() / (mask | want).sum().clamp(min=1)
        assert iou > 0.99


def test_predict__padding_is_cut_and_the_original_size_restored(config):
    """Boxes and masks of a half-size view, in a padded canvas."""
    model = build_model(config()).eval()
    plant_boxes(model, [[8.0, 8, 40, 24]], [0.9], [0])
    meta = dict(img_shape=(32, 64), ori_shape=(64, 128))
    sample = make_sample((64, 96), **meta)
    inputs = torch.zeros(1, 3, 64, 96)
    # A segmenter that sees the left half of the canvas.
    model.build_segmenter()
    logits = torch.full((1, 1, 16, 24), -1.0)
    logits[..., :12] = 1.0
    model.segmenter.decode = lambda *args, **kwargs: (logits, None)
    (out,) = model.predict(inputs, [sample])
    pred = out.pred_instances
    assert pred.bboxes.tolist() == [[16, 16, 80, 48]]
    assert pred.masks.shape == (1, 64, 128)
    # Half of 96 pixels is 48 of the view's 64: three quarters.
    assert pred.masks.float().mean().item() == pytest.approx(0.75, abs=0.01)


def test_predict__thresholds_and_no_box(config):
    cfg = config()
    cfg.test_cfg = dict(score_thr=0.3, max_per_image=2)
    model = build_model(cfg).eval()
    inputs = torch.zeros(1, 3, 64, 128)
    plant_boxes(
        model, [[0.0, 0, 9, 9]] * 4, [0.2, 0.4, 0.9, 0.5], [0, 1, 2, 3]
    )
    (out,) = model.predict(inputs, [make_sample()])
    assert out.pred_instances.labels.tolist() == [2, 3]
    plant_boxes(model, [], [], [])
    (out,) = model.predict(inputs, [make_sample()])
    assert out.pred_instances.masks.shape == (0, 64, 128)


def test_predict__detector_at_its_own_scale(config):
    """The original's ratio, on each view without its padding."""
    cfg = config()
    cfg.test_cfg.update(detector_scale=(96, 40), score_thr=0.0)
    model = build_model(cfg).eval()
    seen = []

    def predict(inputs, samples, rescale):
        seen.append((inputs, samples))
        for sample in samples:
            height, width = sample.img_shape
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor([[0.0, height / 4, width / 2, height]]),
                scores=torch.tensor([0.9]),
                labels=torch.tensor([1]),
            )

    model.detector.predict = predict
    # 64 x 128 to 40 x 80; a view of half of 80 x 200, 96 / 200 of it.
    samples = [
        make_sample(),
        make_sample(img_shape=(40, 100), ori_shape=(80, 200)),
    ]
    inputs = torch.zeros(2, 3, 64, 128)
    inputs[0], inputs[1, :, :40, :100] = 1.0, 2.0
    with torch.no_grad():
        results = model._boxes_at_scale(inputs, samples)
    ((batch, views),) = seen
    assert [v.img_shape for v in views] == [(40, 80), (19, 48)]
    assert {v.batch_input_shape for v in views} == {(40, 80)}
    # Padding is the mean pixel, and none of it came in.
    torch.testing.assert_close(batch[0], torch.ones(3, 40, 80))
    torch.testing.assert_close(
        batch[1, :, :19, :48], torch.full((3, 19, 48), 2.0)
    )
    assert (batch[1, :, 19:] == 0).all() and (batch[1, :, :, 48:] == 0).all()
    for item, want in zip(
        results, ([0, 16, 64, 64], [0, 10, 50, 40]), strict=True
    ):
        torch.testing.assert_close(item.bboxes[0], torch.tensor(want).float())
    # The segmenter sees the image as it came.
    model.build_segmenter()
    rgbs = []
    encode = model.segmenter.encode
    model.segmenter.encode = lambda rgb: rgbs.append(rgb) or encode(rgb)
    with torch.no_grad():
        model.predict(inputs, samples)
    assert rgbs[0].shape == (2, 3, 64, 128)


def test_predict__scale_as_mmdets_resize(config):
    """Sizes and pixels, against Resize with Pillow's antialiasing."""
    from mmdet.registry import TRANSFORMS

    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (90, 150, 3), np.uint8)
    image = cv2.blur(image, (5, 5))
    resize = dict(scale=(110, 48), keep_ratio=True, backend='pillow')
    want = TRANSFORMS.build(dict(type='Resize', **resize))(
        dict(img=image, img_shape=image.shape[:2])
    )['img']
    cfg = config()
    cfg.test_cfg.update(detector_scale=(110, 48))
    model = build_model(cfg).eval()
    seen = []
    model._boxes = lambda inputs, samples: (
        seen.append(inputs) or [InstanceData(bboxes=torch.zeros(0, 4))]
    )
    shape = dict(img_shape=(90, 150), ori_shape=(90, 150))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    model._boxes_at_scale(pixels, [make_sample(**shape)])
    found = seen[0][0].permute(1, 2, 0).numpy()
    assert found.shape == want.shape
    assert np.abs(found - want).max() < 1  # Pillow rounds twice


def test_frozen_segmenter__is_in_no_checkpoint(config):
    model = build_model(config())
    model.build_segmenter()
    assert all(k.startswith('detector.') for k in model.state_dict())


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (dict(classes=None), 'names of the classes'),
        (dict(loss_mask=None), 'loss_mask and loss_dice'),
        (dict(classes_per_prompt=0), 'classes_per_prompt must'),
        (dict(classes_per_prompt=3), 'reads no text'),
        (
            dict(segmenter=dict(
                type='SAM2Segmenter', config='nano_sam2', checkpoint=None
            )),
            'frozen=False',
        ),
    ],
)  # fmt: skip
def test_arguments(config, change, word):
    cfg = config(adapt=True)
    for key, value in change.items():
        cfg[key] = value
    with pytest.raises(ValueError, match=word):
        MODELS.build(cfg)
