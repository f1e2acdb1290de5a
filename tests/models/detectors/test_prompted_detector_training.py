# SPDX-License-Identifier: Apache-2.0
"""What a detector with a segmenter learns from."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from prompted_detectors import (
    build_model,
    make_sample,
    plant_boxes,
    teacher_config,
    training_losses,
)


@pytest.fixture
def config():
    """The nano teacher; ``adapt`` for stage 1a."""
    return teacher_config


def test_supervised__detectors_own_losses(config):
    model = build_model(config())
    losses = training_losses(model)
    assert set(losses) == {'sup_loss_cls', 'sup_loss_bbox'}


def test_adapt__what_learns(config):
    """Detector, SAM's neck and mask decoder, projector; not the trunk."""
    model = build_model(config(adapt=True))
    plant_boxes(
        model, [[10.0, 10, 50, 40], [60.0, 5, 110, 60]], [0.9, 0.6], [2, 4]
    )
    losses = training_losses(model, ('sup', 'unsup'))
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
    model = build_model(config(adapt=True))
    plant_boxes(
        model, [[10.0, 10, 50, 40], [60.0, 5, 110, 60]], [0.9, 0.6], [2, 4]
    )
    training_losses(model)['loss_contrast'].backward()
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
    model = build_model(config(adapt=True))
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
    model = build_model(config(adapt=True))
    samples = [make_sample()]
    samples[0].gt_instances = samples[0].gt_instances[:0]
    losses = model._mask_losses(
        model.segmenter.encode(torch.rand(1, 3, 64, 128)), samples
    )
    assert (
        losses['loss_mask'].item() == 0 and losses['loss_mask'].requires_grad
    )


def test_queries__boxes_and_background(config):
    """Scores become probabilities, the rest of 1 is no object."""
    model = build_model(config(adapt=True)).train()
    plant_boxes(model, [[10.0, 10, 50, 40]], [0.7], [2])
    inputs = torch.zeros(1, 3, 64, 128)
    embeddings = model.segmenter.encode(inputs)
    masks, classes = model._queries(inputs, embeddings, [make_sample()])
    assert masks.shape[:2] == (1, 2) and (masks[0, 0] == 0).all()
    probs = classes.softmax(-1)
    assert probs[0, 0, -1].item() == pytest.approx(1, abs=1e-4)
    assert probs[0, 1, 2].item() == pytest.approx(0.7, abs=1e-4)
    assert probs[0, 1, -1].item() == pytest.approx(0.3, abs=1e-4)
    assert model.training and model.detector.training
    plant_boxes(model, [], [], [])
    masks, classes = model._queries(inputs, embeddings, [make_sample()])
    assert masks.shape[1] == classes.shape[1] == 1
