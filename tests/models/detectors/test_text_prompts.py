# SPDX-License-Identifier: Apache-2.0
"""A detector with a text: MM-Grounding-DINO and its classes."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import CLASSES, ROOT
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from nano import grounding_dino
from prompted_detectors import (
    build_model,
    make_sample,
    teacher_config,
    training_losses,
)
from s4m.apis.complexity import get_complexity
from s4m.models.detectors import text_prompts


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
def grounded(bert):
    cfg = teacher_config(adapt=True)
    cfg.detector = grounding_dino(bert)
    cfg.detector.use_autocast = False
    cfg.detector.backbone.with_cp = False
    cfg.classes = CLASSES
    cfg.test_cfg.score_thr = 0.0
    return cfg


def test_grounding_dino__trains_and_predicts(grounded):
    model = build_model(grounded)
    losses = training_losses(model)
    assert {'sup_loss_cls', 'sup_loss_iou', 'sup_loss_dice'} <= set(losses)
    assert not model.detector.language_model.training
    assert not any(
        p.requires_grad for p in model.detector.language_model.parameters()
    )
    model.eval()
    with torch.no_grad():
        outs = model.predict(
            torch.rand(2, 3, 64, 128), [make_sample(), make_sample()]
        )
    for out in outs:
        pred = out.pred_instances
        assert len(pred) == 20 and pred.masks.shape == (20, 64, 128)
        assert int(pred.labels.max()) < len(CLASSES)


def test_grounding_dino__multiply_adds(grounded):
    """Of all parts: the text's, the image's, SAM 2's."""
    result = get_complexity(Config(dict(model=grounded)), (64, 128))
    model = build_model(grounded)
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
    model = build_model(grounded)
    for _ in range(5):
        targets = model._box_targets([make_sample(), make_sample()])
        text = targets[0].text
        assert len(text) == 3 and list(text) == sorted(text, key=CLASSES.index)
        for target in targets:
            names = [text[i] for i in target.gt_instances.labels]
            assert names == ['car', 'bus']
    assert torch.isfinite(training_losses(model)['sup_loss_cls'])
    model.eval()
    with torch.no_grad():
        outs = model._boxes(
            torch.rand(2, 3, 64, 128), [make_sample(), make_sample()]
        )
    assert len(outs) == 2
    labels = torch.cat([out.labels for out in outs])
    assert int(labels.max()) >= 3  # of a later chunk


def test_grounding_dino__more_classes_than_the_text_has(grounded):
    """Objects that the text does not ask for are no targets.

    A label of -1 would train the last class's tokens with their boxes.
    """
    grounded.classes_per_prompt = 3
    model = build_model(grounded)
    names, boxes = set(), torch.rand(5, 4) * 30
    boxes[:, 2:] += 30
    for _ in range(20):
        samples = [make_sample(), make_sample()]
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
    samples = [make_sample(), make_sample()]
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
