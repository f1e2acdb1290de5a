# SPDX-License-Identifier: Apache-2.0
"""The life of a promptable segmenter, the same for all of its owners."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from s4m.models import PseudoLabelRefiner
from s4m.models.promptable import (
    PromptableSegmenter,
    SAM2Segmenter,
    SegmenterOwner,
)

FROZEN = dict(type='SAM2Segmenter', config='nano_sam2', checkpoint='nano_sam2')


class _Owner(SegmenterOwner):
    def __init__(self, segmenter: dict) -> None:
        super().__init__()
        self.head = torch.nn.Linear(2, 2)
        self.configure_segmenter(segmenter)


class _NoSimilarity(PromptableSegmenter):
    def encode(self, rgb):
        return None

    def decode(self, embeddings, image_ids, points=None, boxes=None, **_):
        return None


def test_frozen__is_outside_of_everything_that_trains():
    owner = _Owner(FROZEN)
    plain = set(owner.state_dict())
    assert not owner.has_segmenter
    owner.init_weights()
    assert owner.has_segmenter
    segmenter = owner.segmenter
    assert isinstance(segmenter, SAM2Segmenter)
    assert owner.segmenter is segmenter
    assert set(owner.state_dict()) == plain == {'head.weight', 'head.bias'}
    assert len(list(owner.parameters())) == 2
    assert segmenter not in set(owner.modules())
    owner.train()
    assert not segmenter.training
    other = _Owner(FROZEN)
    other.load_state_dict(owner.state_dict())


def test_frozen__built_at_first_use_without_a_random_number():
    owner = _Owner(FROZEN)
    state = torch.get_rng_state()
    assert owner.segmenter.encode(torch.zeros(1, 3, 32, 32)) is not None
    assert torch.equal(torch.get_rng_state(), state)


def test_frozen__missing_file_is_reported_by_init_weights():
    owner = PseudoLabelRefiner(dict(FROZEN, checkpoint='no_such_file.pt'))
    with pytest.raises(FileNotFoundError, match=r'no_such_file.pt'):
        owner.init_weights()


def test_frozen__a_copy_of_the_config_and_of_the_owner():
    owner = _Owner(FROZEN)
    assert not copy.deepcopy(owner).has_segmenter
    assert owner.segmenter_cfg == FROZEN


def test_frozen__follows_its_input_to_the_device(monkeypatch):
    segmenter = _NoSimilarity()
    segmenter.layer = torch.nn.Linear(2, 2)
    owner = _Owner(FROZEN)
    owner.set_segmenter(segmenter)
    calls = []
    to = segmenter.to
    segmenter.to = lambda device: calls.append(device) or to(device)
    meta = torch.device('meta')
    for device in (torch.device('cpu'), meta, meta):
        assert owner.segmenter_on(device) is segmenter
        assert segmenter.layer.weight.device == device
    assert calls == [meta]
    # A segmenter without a tensor has no device.
    owner.set_segmenter(_NoSimilarity())
    owner.segmenter_on(meta)


def test_refiner__moves_its_segmenter():
    refiner = PseudoLabelRefiner(FROZEN)
    segmenter = _NoSimilarity()
    segmenter.layer = torch.nn.Linear(2, 2)

    def encode(rgb):
        assert segmenter.layer.weight.device == rgb.device
        raise InterruptedError  # the rest needs values

    segmenter.encode = encode
    refiner.set_segmenter(segmenter)
    pseudo = InstanceData(
        mask_logits=torch.ones(1, 8, 8), masks=torch.ones(1, 8, 8).bool()
    )
    with pytest.raises(InterruptedError):
        refiner(torch.empty(1, 3, 32, 32, device='meta'), [pseudo])


@MODELS.register_module()
class _Broken(PromptableSegmenter):
    def __init__(self, frozen: bool = True) -> None:
        super().__init__(frozen)
        self.no_such_layer  # noqa: B018

    encode = decode = None


def test_build__an_attribute_error_is_not_hidden():
    """nn.Module would say that the owner has no attribute `segmenter`."""
    owner = _Owner(dict(type='_Broken'))
    with pytest.raises(RuntimeError, match=r'_Broken.*no_such_layer'):
        owner.segmenter.encode(None)


def test_trainable__is_an_ordinary_submodule():
    owner = _Owner(dict(FROZEN, frozen=False))
    assert owner.has_segmenter
    assert owner.segmenter is dict(owner.named_children())['segmenter']
    assert any(k.startswith('segmenter.model.') for k in owner.state_dict())
    weight = owner.segmenter.model.no_mem_embed
    with torch.no_grad():
        weight.fill_(7)
    owner.init_weights()  # reads the checkpoint
    assert not (weight == 7).any()


def test_set__replaces_the_segmenter_of_either_kind(nano_segmenter):
    owner = _Owner(dict(FROZEN, frozen=False))
    owner.set_segmenter(nano_segmenter)
    assert owner.segmenter is nano_segmenter
    assert set(owner.state_dict()) == {'head.weight', 'head.bias'}


def test_interface__encode_and_decode_are_needed():
    class Half(PromptableSegmenter):
        def encode(self, rgb):
            return None

    with pytest.raises(TypeError, match='decode'):
        Half()


def test_similarity__is_optional_and_refused_by_name(shapes_config):
    segmenter = _NoSimilarity()
    with pytest.raises(NotImplementedError, match='_NoSimilarity'):
        segmenter.similarity(None, None)
    _Owner(FROZEN).set_segmenter(segmenter)
    cfg = shapes_config('s4m_teacher_shapes_5p').model
    cfg.pop('num_points', None)
    distilled = MODELS.build(cfg)
    with pytest.raises(ValueError, match=r'DistillMask2Former.*_NoSimilarity'):
        distilled.set_segmenter(segmenter)
