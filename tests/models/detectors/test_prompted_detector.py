# SPDX-License-Identifier: Apache-2.0
"""A detector's boxes and a segmenter's masks."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest
import torch
from conftest import CLASSES, ROOT
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from s4m.apis.complexity import get_complexity
from s4m.models.data_preprocessors import to_rgb
from s4m.models.detectors import text_prompts


@pytest.fixture
def config():
    """The nano teacher; ``adapt`` for stage 1a."""

    def make(adapt: bool = False) -> ConfigDict:
        stage = 'adapt' if adapt else 'supervised'
        path = f'configs/sskd/sskd_teacher_{stage}_shapes_5p.py'
        return Config.fromfile(ROOT / path).model

    return make


def _build(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


def _sample(size=(64, 128), **meta) -> DetDataSample:
    masks = torch.zeros(2, *size, dtype=torch.uint8)
    masks[0, 10:40, 10:50] = masks[1, 20:60, 70:110] = 1
    boxes = torch.tensor([[10.0, 10, 50, 40], [70, 20, 110, 60]])
    meta = (
        dict(
            img_shape=size,
            ori_shape=size,
            pad_shape=size,
            batch_input_shape=size,
            scale_factor=(1.0, 1.0),
        )
        | meta
    )
    return DetDataSample(
        metainfo=meta,
        gt_instances=InstanceData(
            labels=torch.tensor([2, 4]),
            bboxes=boxes,
            masks=BitmapMasks(masks.numpy(), *size),
        ),
        ignored_instances=InstanceData(
            labels=torch.zeros(0, dtype=torch.long), bboxes=torch.zeros(0, 4)
        ),
    )


def _plant(model, boxes, scores, labels):
    """Let the detector predict these boxes on the canvas."""

    def predict(inputs, samples, rescale):
        assert not rescale
        for sample in samples:
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(boxes).view(-1, 4),
                scores=torch.tensor(scores),
                labels=torch.tensor(labels, dtype=torch.long),
            )
        return samples

    model.detector.predict = predict


# -------------------------------------------------------------- evaluation
def test_predict__equals_sam2s_predictor(config):
    """The image without padding, prompted with the same boxes."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    model = _build(config()).eval()
    boxes = [[60.0, 8, 120, 60], [8.0, 8, 50, 40]]
    _plant(model, boxes, [0.5, 0.9], [3, 1])
    rgb = torch.randint(0, 256, (1, 3, 64, 128)).float()
    inputs = model.data_preprocessor.normalize(rgb)
    torch.testing.assert_close(to_rgb(model.data_preprocessor, inputs), rgb)
    with torch.no_grad():
        (out,) = model.predict(inputs, [_sample()])
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
    model = _build(config()).eval()
    _plant(model, [[8.0, 8, 40, 24]], [0.9], [0])
    meta = dict(img_shape=(32, 64), ori_shape=(64, 128))
    sample = _sample((64, 96), **meta)
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
    model = _build(cfg).eval()
    inputs = torch.zeros(1, 3, 64, 128)
    _plant(model, [[0.0, 0, 9, 9]] * 4, [0.2, 0.4, 0.9, 0.5], [0, 1, 2, 3])
    (out,) = model.predict(inputs, [_sample()])
    assert out.pred_instances.labels.tolist() == [2, 3]
    _plant(model, [], [], [])
    (out,) = model.predict(inputs, [_sample()])
    assert out.pred_instances.masks.shape == (0, 64, 128)


def test_predict__detector_at_its_own_scale(config):
    """The original's ratio, on each view without its padding."""
    cfg = config()
    cfg.test_cfg.update(detector_scale=(96, 40), score_thr=0.0)
    model = _build(cfg).eval()
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
        _sample(),
        _sample(img_shape=(40, 100), ori_shape=(80, 200)),
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
    model = _build(cfg).eval()
    seen = []
    model._boxes = lambda inputs, samples: (
        seen.append(inputs) or [InstanceData(bboxes=torch.zeros(0, 4))]
    )
    shape = dict(img_shape=(90, 150), ori_shape=(90, 150))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    model._boxes_at_scale(pixels, [_sample(**shape)])
    found = seen[0][0].permute(1, 2, 0).numpy()
    assert found.shape == want.shape
    assert np.abs(found - want).max() < 1  # Pillow rounds twice


def test_frozen_segmenter__is_in_no_checkpoint(config):
    model = _build(config())
    model.build_segmenter()
    assert all(k.startswith('detector.') for k in model.state_dict())


# ---------------------------------------------------------------- training
def _loss(model, branches=('sup',)):
    torch.manual_seed(1)
    inputs = {b: torch.rand(2, 3, 64, 128) * 255 for b in branches}
    samples = {b: [_sample(), _sample()] for b in branches}
    model.train()
    return model(inputs, samples, mode='loss')


def test_supervised__detectors_own_losses(config):
    model = _build(config())
    losses = _loss(model)
    assert set(losses) == {'sup_loss_cls', 'sup_loss_bbox'}


def test_adapt__what_learns(config):
    """Detector, SAM's neck and mask decoder, projector; not the trunk."""
    model = _build(config(adapt=True))
    _plant(model, [[10.0, 10, 50, 40], [60.0, 5, 110, 60]], [0.9, 0.6], [2, 4])
    losses = _loss(model, ('sup', 'unsup'))
    for branch in ('sup', 'unsup'):
        for name in ('cls', 'bbox', 'mask', 'dice'):
            assert f'{branch}_loss_{name}' in losses
    assert losses['loss_contrast'] > 0
    assert model.detector.training and model.segmenter.training
    flat = (
        v
        for ls in losses.values()
        for v in (ls if isinstance(ls, list) else [ls])
    )
    sum(flat).backward()
    moved = {
        '.'.join(name.split('.')[:4])
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    for part in (
        'segmenter.model.image_encoder.neck',
        'segmenter.model.sam_mask_decoder.transformer',
        'loss_contrast.projector.0.weight',
    ):
        assert part in moved
    assert any(name.startswith('detector.backbone') for name in moved)
    assert not any('trunk' in name or 'prompt' in name for name in moved)


def test_adapt__contrast_trains_the_neck_not_the_decoder(config):
    """P_m and P_c are used without gradient."""
    model = _build(config(adapt=True))
    _plant(model, [[10.0, 10, 50, 40], [60.0, 5, 110, 60]], [0.9, 0.6], [2, 4])
    _loss(model)['loss_contrast'].backward()
    moved = {
        name
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert moved and all(
        n.startswith(('segmenter.model.image_encoder.neck', 'loss_contrast'))
        for n in moved
    )


def test_adapt__checkpoint_has_the_segmenter_and_needs_no_file(
    config, monkeypatch
):
    model = _build(config(adapt=True))
    cfg = config(adapt=True)
    cfg.segmenter.checkpoint = 'missing.pt'
    again = MODELS.build(cfg)  # as for testing: no init_weights
    again.load_state_dict(model.state_dict())
    for a, b in zip(
        model.segmenter.parameters(),
        again.segmenter.parameters(),
        strict=True,
    ):
        assert torch.equal(a, b)
    with pytest.raises(FileNotFoundError, match=r'missing\.pt'):
        again.init_weights()


def test_mask_losses__no_object(config):
    model = _build(config(adapt=True))
    samples = [_sample()]
    samples[0].gt_instances = samples[0].gt_instances[:0]
    losses = model._mask_losses(
        model.segmenter.encode(torch.rand(1, 3, 64, 128)), samples
    )
    assert (
        losses['loss_mask'].item() == 0 and losses['loss_mask'].requires_grad
    )


def test_queries__boxes_and_background(config):
    """Scores become probabilities, the rest of 1 is no object."""
    model = _build(config(adapt=True)).train()
    _plant(model, [[10.0, 10, 50, 40]], [0.7], [2])
    inputs = torch.zeros(1, 3, 64, 128)
    embeddings = model.segmenter.encode(inputs)
    masks, classes = model._queries(inputs, embeddings, [_sample()])
    assert masks.shape[:2] == (1, 2) and (masks[0, 0] == 0).all()
    probs = classes.softmax(-1)
    assert probs[0, 0, -1].item() == pytest.approx(1, abs=1e-4)
    assert probs[0, 1, 2].item() == pytest.approx(0.7, abs=1e-4)
    assert probs[0, 1, -1].item() == pytest.approx(0.3, abs=1e-4)
    assert model.training and model.detector.training
    _plant(model, [], [], [])
    masks, classes = model._queries(inputs, embeddings, [_sample()])
    assert masks.shape[1] == classes.shape[1] == 1


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


# ---------------------------------------------------- a detector with a text
def _grounding(bert: str) -> ConfigDict:
    """MM-Grounding-DINO of the configs with few channels."""
    cfg = Config.fromfile(
        ROOT / 'configs/_base_/models/mm_grounding_dino_swin_l.py'
    ).model
    cfg.language_model.name = bert
    cfg.num_queries = 20
    cfg.use_autocast = False
    cfg.backbone.update(
        embed_dims=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        with_cp=False,
    )
    cfg.neck.in_channels = [16, 32, 64, 128]
    cfg.encoder.num_layers = 1
    cfg.decoder.num_layers = 1
    cfg.dn_cfg.group_cfg.num_dn_queries = 10
    cfg.test_cfg.max_per_img = 20
    return cfg


def test_grounding_dino__configured_as_in_mmdet():
    path = 'mm_grounding_dino/grounding_dino_swin-l_pretrain_all.py'
    theirs = get_config(f'mmdet::{path}').model
    ours = Config.fromfile(
        ROOT / 'configs/_base_/models/mm_grounding_dino_swin_l.py'
    ).model
    theirs.language_model.name = ours.language_model.name
    theirs.encoder.num_cp = 0
    assert ours.to_dict() == theirs.to_dict()


@pytest.fixture
def grounded(config, bert):
    cfg = config(adapt=True)
    cfg.detector = _grounding(bert)
    cfg.classes = CLASSES
    cfg.test_cfg.score_thr = 0.0
    return cfg


def test_grounding_dino__trains_and_predicts(grounded):
    model = _build(grounded)
    losses = _loss(model)
    assert {'sup_loss_cls', 'sup_loss_iou', 'sup_loss_dice'} <= set(losses)
    assert not model.detector.language_model.training
    assert not any(
        p.requires_grad for p in model.detector.language_model.parameters()
    )
    model.eval()
    with torch.no_grad():
        outs = model.predict(torch.rand(2, 3, 64, 128), [_sample(), _sample()])
    for out in outs:
        pred = out.pred_instances
        assert len(pred) == 20 and pred.masks.shape == (20, 64, 128)
        assert int(pred.labels.max()) < len(CLASSES)


def test_grounding_dino__multiply_adds(grounded):
    """Of all parts: the text's, the image's, SAM 2's."""
    result = get_complexity(Config(dict(model=grounded)), (64, 128))
    model = _build(grounded)
    deployed = (*model.detector.parameters(), *model.segmenter.parameters())
    assert result['params'] == sum(p.numel() for p in deployed)
    rows = [line.split('|') for line in result['out_table'].splitlines()]
    flops = {r[1].strip(): r[3].strip() for r in rows if len(r) > 3}
    for part in ('language_mode…', 'backbone', 'encoder', 'decoder'):
        assert flops[f'detector.{part}'][-1] in 'MG'
    assert flops['segmenter.model'][-1] in 'MG'


def test_grounding_dino__text_in_chunks(grounded):
    """Training: the objects' classes are always in the text; evaluation:
    MMDet's chunks, one image at a time, with labels of all classes."""
    grounded.classes_per_prompt = 3
    grounded.detector.test_cfg.chunked_size = 3
    model = _build(grounded)
    for _ in range(5):
        targets = model._box_targets([_sample(), _sample()])
        text = targets[0].text
        assert len(text) == 3 and list(text) == sorted(text, key=CLASSES.index)
        for target in targets:
            names = [text[i] for i in target.gt_instances.labels]
            assert names == ['car', 'bus']
    assert torch.isfinite(_loss(model)['sup_loss_cls'])
    model.eval()
    with torch.no_grad():
        outs = model._boxes(torch.rand(2, 3, 64, 128), [_sample(), _sample()])
    assert len(outs) == 2
    labels = torch.cat([out.labels for out in outs])
    assert int(labels.max()) >= 3  # of a later chunk


def test_grounding_dino__more_classes_than_the_text_has(grounded):
    """Objects that the text does not ask for are no targets.

    A label of -1 would train the last class's tokens with their boxes.
    """
    grounded.classes_per_prompt = 3
    model = _build(grounded)
    names, boxes = set(), torch.rand(5, 4) * 30
    boxes[:, 2:] += 30
    for _ in range(20):
        samples = [_sample(), _sample()]
        labels = [torch.tensor([0, 2, 4, 6, 7]), torch.tensor([2, 2])]
        for sample, own in zip(samples, labels, strict=True):
            sample.gt_instances = InstanceData(
                labels=own, bboxes=boxes[: len(own)]
            )
        targets = model._box_targets(samples)
        text = targets[0].text
        assert len(text) == 3 and text == targets[1].text
        # Only classes of objects, since there are more than three of them.
        assert set(text) <= {CLASSES[i] for i in (0, 2, 4, 6, 7)}
        names |= set(text)
        for target, own in zip(targets, labels, strict=True):
            asked = [i for i in own.tolist() if CLASSES[i] in text]
            found = target.gt_instances
            assert [text[i] for i in found.labels] == [
                CLASSES[i] for i in asked
            ]
            kept = [CLASSES[i] in text for i in own.tolist()]
            assert torch.equal(found.bboxes, boxes[: len(own)][kept])
    assert len(names) == 5
    samples = [_sample(), _sample()]
    samples[0].gt_instances.labels = torch.tensor([0, 7])
    losses = model.train()(
        dict(sup=torch.rand(2, 3, 64, 128) * 255),
        dict(sup=samples),
        mode='loss',
    )
    assert torch.isfinite(losses['sup_loss_cls'])


def test_grounding_dino__a_text_that_would_be_cut_off(grounded):
    """Ten tokens: the two ends, and four names with their dots."""

    def build(**changes):
        cfg = copy.deepcopy(grounded)
        cfg.merge_from_dict(changes)
        return MODELS.build(cfg.model)

    grounded.detector.language_model.max_tokens = 10
    grounded = Config(dict(model=grounded))
    with pytest.raises(ValueError, match='classes_per_prompt to fewer'):
        build()
    # "motorcycle" and "bicycle" are two tokens and a dot.
    with pytest.raises(ValueError, match='4 classes are up to 10 tokens'):
        build(**{'model.classes_per_prompt': 4})
    with pytest.raises(ValueError, match='chunked_size to fewer'):
        build(**{'model.classes_per_prompt': 3})
    chunks = {'model.detector.test_cfg.chunked_size': 3}
    build(**{'model.classes_per_prompt': 3}, **chunks)


def test_grounding_dino__without_names_or_encoder(grounded):
    grounded.classes = ()
    with pytest.raises(ValueError, match='its text prompt'):
        MODELS.build(grounded)
    grounded.classes = CLASSES
    grounded.detector.language_model.name = 'checkpoints/no-bert'
    with pytest.raises(FileNotFoundError, match=r'no-bert is not a folder'):
        MODELS.build(grounded)


def test_choose__more_classes_than_fit():
    """Any of the objects' classes, no other, none twice."""
    counts = torch.zeros(8)
    for _ in range(300):
        chosen = text_prompts.choose_classes(
            torch.tensor([6, 1, 6, 3, 4]), 8, 2
        )
        assert len(set(chosen.tolist())) == 2
        counts[chosen] += 1
    assert counts[[0, 2, 5, 7]].sum() == 0
    assert counts[[1, 3, 4, 6]].min() > 100  # 150 on average


def test_choose__objects_first():
    for _ in range(20):
        chosen = text_prompts.choose_classes(torch.tensor([6, 1, 6]), 8, 4)
        assert len(chosen) == 4 and {1, 6} <= set(chosen.tolist())
        assert chosen.tolist() == sorted(chosen.tolist())
