# SPDX-License-Identifier: Apache-2.0
"""Weights that are carried over to other classes and queries."""

import pytest
import torch
from s4m.apis.own_data.known_models import MODELS
from s4m.apis.own_data.start_weights import (
    adapt,
    coco_address,
    read_start,
    write_start,
)

CLS = 'panoptic_head.cls_embed'
SOURCE = {
    'backbone.w': torch.arange(4.0),
    f'{CLS}.weight': torch.arange(12.0).view(4, 3),
    f'{CLS}.bias': torch.tensor([0.1, 0.2, 0.3, 0.9]),
    'panoptic_head.query_feat.weight': torch.arange(10.0).view(5, 2),
}


def network(classes, queries):
    """State dict of a network with so many classes and queries."""
    return {
        'backbone.w': torch.zeros(4),
        f'{CLS}.weight': torch.zeros(classes + 1, 3),
        f'{CLS}.bias': torch.zeros(classes + 1),
        'panoptic_head.query_feat.weight': torch.zeros(queries, 2),
    }


def adapted(classes, queries=5, known=('person', 'car', 'dog')):
    return adapt(
        SOURCE,
        network(len(classes), queries),
        classes=classes,
        source_classes=known,
        source='coco.pth',
    )


def test_classes_of_one_name_keep_their_rows():
    state, kept = adapted(('apple', 'car', 'person'))
    assert kept == ['car', 'person']
    weight, bias = state[f'{CLS}.weight'], state[f'{CLS}.bias']
    assert torch.equal(weight[1], SOURCE[f'{CLS}.weight'][1])
    assert torch.equal(weight[2], SOURCE[f'{CLS}.weight'][0])
    assert bias[1] == 0.2 and bias[2] == 0.1
    # "No object" stays behind the classes, with as many classes or others.
    assert torch.equal(weight[3], SOURCE[f'{CLS}.weight'][3])
    assert bias[3] == pytest.approx(0.9)
    assert torch.equal(state['backbone.w'], SOURCE['backbone.w'])


def test_as_many_classes_of_other_names_do_not_keep_rows():
    state, kept = adapted(('apple', 'pear', 'plum'))
    assert kept == []
    same = state[f'{CLS}.weight'] == SOURCE[f'{CLS}.weight']
    assert not same[:3].all(1).any() and same[3].all()


def test_the_same_classes_keep_everything():
    state, kept = adapted(('person', 'car', 'dog'))
    assert len(kept) == 3
    assert all(torch.equal(state[k], SOURCE[k]) for k in SOURCE)


def test_a_new_class_has_the_spread_of_the_others():
    names = tuple(f'c{i}' for i in range(2000))
    state, _ = adapted(names)
    spread = SOURCE[f'{CLS}.weight'].std()
    assert state[f'{CLS}.weight'][:2000].std() == pytest.approx(
        float(spread), rel=0.05
    )
    mean = SOURCE[f'{CLS}.bias'].mean()
    assert torch.allclose(state[f'{CLS}.bias'][:2000], mean)


def test_fewer_queries_are_the_first_and_more_are_not_copies():
    key = 'panoptic_head.query_feat.weight'
    assert torch.equal(adapted(('a',), 3)[0][key], SOURCE[key][:3])
    more = adapted(('a',), 9)[0][key]
    assert torch.equal(more[:5], SOURCE[key])
    assert len(torch.unique(more, dim=0)) == 9


def test_a_detector_without_no_object():
    source = {'bbox_head.rtm_cls.0.weight': torch.randn(2, 3, 1, 1)}
    source['bbox_head.rtm_cls.0.bias'] = torch.tensor([-4.0, -5.0])
    target = {k: torch.zeros(3, *v.shape[1:]) for k, v in source.items()}
    state, kept = adapt(
        source,
        target,
        classes=('x', 'dog', 'y'),
        source_classes=('cat', 'dog'),
        source='a.pth',
    )
    assert kept == ['dog']
    weight = state['bbox_head.rtm_cls.0.weight']
    assert torch.equal(weight[1], source['bbox_head.rtm_cls.0.weight'][1])
    assert state['bbox_head.rtm_cls.0.bias'].tolist() == [-4.5, -5.0, -4.5]


def test_another_network_is_refused():
    target = network(1, 5) | {'neck.w': torch.zeros(2)}
    with pytest.raises(ValueError, match=r'coco.pth .* 1 tensors.*neck.w'):
        adapt(
            SOURCE,
            target,
            classes=('a',),
            source_classes=None,
            source='coco.pth',
        )


def test_a_written_file_names_its_classes(tmp_path):
    file = write_start(tmp_path / 'start.pth', SOURCE, ('a', 'b', 'c'))
    state, classes = read_start(file)
    assert classes == ('a', 'b', 'c') and state.keys() == SOURCE.keys()
    # Weights of a student are those of a plain detector.
    torch.save({f'student.{k}': v for k, v in SOURCE.items()}, file)
    state, classes = read_start(file, ('x',))
    assert classes == ('x',) and state.keys() == SOURCE.keys()


def test_an_address_that_cannot_be_reached_says_what_to_do(monkeypatch):
    def fail(*args):
        raise OSError('no network')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    with pytest.raises(ConnectionError, match=r'example.*--weights FILE'):
        read_start('https://example.org/nowhere.pth')
    with pytest.raises(FileNotFoundError):
        read_start('nowhere.pth')


def test_mmdetection_names_the_weights_of_every_model():
    for model in MODELS.values():
        if model.coco is None:
            continue
        address, classes = coco_address(model)
        assert (
            address.endswith('.pth') and model.coco.split('/')[-1] in address
        )
        assert classes[:3] == ('person', 'bicycle', 'car')
