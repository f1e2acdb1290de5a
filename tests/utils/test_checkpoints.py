# SPDX-License-Identifier: Apache-2.0
"""Files from elsewhere: what is read, what is refused, what never runs."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from s4m.utils.checkpoints import (
    Unread,
    find_checkpoint,
    load_strictly,
    load_teacher,
    network_state,
    read_checkpoint,
    read_weights,
)
from s4m.utils.pickled_arrays import read_arrays
from torch import nn


class _Call:
    """Pickles as a call that writes a file named ``evil``."""

    def __init__(self, function):
        self.function = function

    def __reduce__(self):
        if self.function is os.system:
            return os.system, ('touch evil',)
        return self.function, ("open('evil', 'w').close()",)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('function', [os.system, eval, exec])
def test_pickled_call__never_runs(tmp_path, monkeypatch, zipped, function):
    monkeypatch.chdir(tmp_path)
    content = dict(state_dict=dict(w=torch.ones(2), x=_Call(function)))
    torch.save(content, 'x.pth', _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r'x\.pth'):
        read_weights('x.pth')
    with pytest.raises(ValueError, match=r'x\.pth'):
        load_teacher(nn.Linear(1, 1), 'x.pth')
    assert not os.path.exists('evil')
    # The file does what it is meant to where it is read carelessly.
    torch.load('x.pth', weights_only=False)
    assert os.path.exists('evil')


def test_pickled_call__not_beside_the_weights_either(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = dict(state_dict=dict(w=torch.ones(2)), hub=_Call(eval))
    torch.save(content, 'x.pth')
    assert torch.equal(read_weights('x.pth')['w'], torch.ones(2))
    assert isinstance(read_checkpoint('x.pth')['hub'], Unread)
    assert not os.path.exists('evil')


@pytest.mark.parametrize('content', [_Call(os.system), {'w': _Call(eval)}])
def test_pickled_call__of_a_pickle_without_torch(
    tmp_path, monkeypatch, content
):
    monkeypatch.chdir(tmp_path)
    for name in ('x.pkl', 'x.pth'):
        with open(name, 'wb') as f:
            pickle.dump(content, f, protocol=2)
    for read in (read_checkpoint, read_weights):
        with pytest.raises(ValueError, match='cannot be read'):
            read('x.pth')
    with pytest.raises(ValueError, match='only numpy arrays'):
        read_arrays('x.pkl')
    assert not os.path.exists('evil')


@pytest.fixture
def trained(tmp_path):
    """A checkpoint as MMEngine's runner writes it, and its network."""

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 3)

        def forward(self, inputs, data_samples=None, mode='loss'):
            return dict(loss=self.net(torch.ones(1, 2)).mean())

    runner = Runner(
        Model(),
        str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.ones(2))] * 4,
            sampler=dict(type='DefaultSampler'),
            collate_fn=dict(type='pseudo_collate'),
            batch_size=2,
        ),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        train_cfg=dict(by_epoch=False, max_iters=2),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False)
        ),
        log_level='ERROR',
        experiment_name=tmp_path.name,
    )
    hub = runner.message_hub
    hub.update_info('best_score', np.float32(0.5))
    hub.update_info('states', np.random.get_state())
    runner.train()
    return tmp_path / 'iter_2.pth', runner.model


def test_trained_checkpoint__is_read(trained):
    file, model = trained
    # torch's own restricted reader refuses this file.
    with pytest.raises(pickle.UnpicklingError, match='HistoryBuffer'):
        torch.load(file, weights_only=True)
    checkpoint = read_checkpoint(file)
    assert checkpoint['meta']['iter'] == 2
    assert {'message_hub', 'optimizer'} <= checkpoint.keys()
    moment = checkpoint['optimizer']['state'][0]['exp_avg']
    assert moment.shape == model.state_dict()['net.weight'].shape
    want = model.state_dict()
    found = read_weights(file)
    assert found.keys() == want.keys()
    for key, value in want.items():
        assert torch.equal(found[key], value)
    # What was allowed for this file is not allowed afterwards.
    with pytest.raises(pickle.UnpicklingError, match='HistoryBuffer'):
        torch.load(file, weights_only=True)


def test_format_before_torch_1_6(trained, tmp_path):
    file, model = trained
    content = torch.load(file, weights_only=False)
    old = tmp_path / 'old.pth'
    torch.save(content, old, _use_new_zipfile_serialization=False)
    for key, value in model.state_dict().items():
        assert torch.equal(read_weights(old)[key], value)


@pytest.mark.parametrize('zipped', [True, False])
def test_truncated(tmp_path, zipped):
    file = tmp_path / 'x.pth'
    torch.save(
        dict(w=torch.ones(99)), file, _use_new_zipfile_serialization=zipped
    )
    content = file.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r'x\.pth cannot be read'):
            read_checkpoint(file)


def test_other_files(tmp_path):
    text = tmp_path / 'x.pth'
    text.write_text('<html>404: not found</html>')
    with pytest.raises(ValueError, match=r'x\.pth cannot be read'):
        read_checkpoint(text)
    torch.save([torch.ones(1)], text)
    with pytest.raises(ValueError, match='holds a list'):
        read_checkpoint(text)
    torch.save(dict(a=torch.ones(1), b=3), text)
    with pytest.raises(ValueError, match='entry b of the class int'):
        read_weights(text)
    with pytest.raises(FileNotFoundError, match=r'none\.pth does not exist'):
        read_weights(tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match='is a folder'):
        read_weights(tmp_path)


def test_unknown_class_among_the_weights(tmp_path):
    file = tmp_path / 'x.pth'
    torch.save(dict(a=torch.ones(1), b=np.ones(1)), file)
    with pytest.raises(ValueError, match=r'entry b of the class numpy\..*'):
        read_weights(file)


@pytest.mark.parametrize('wrap', ['state_dict', 'model', None])
def test_weights__of_each_layout(tmp_path, wrap):
    file = tmp_path / 'x.pth'
    state = nn.Linear(2, 1).state_dict()
    torch.save({wrap: state, 'meta': {}} if wrap else state, file)
    found = read_weights(file)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[k], v) for k, v in state.items())


def test_weights__safetensors(tmp_path):
    save_file = pytest.importorskip('safetensors.torch').save_file
    save_file(dict(w=torch.ones(2)), tmp_path / 'x.safetensors')
    found = read_weights(tmp_path / 'x.safetensors')
    assert torch.equal(found['w'], torch.ones(2))
    (tmp_path / 'x.safetensors').write_text('text')
    with pytest.raises(ValueError, match='cannot be read'):
        read_weights(tmp_path / 'x.safetensors')


def test_arrays__become_tensors(tmp_path):
    file = tmp_path / 'zoo.pkl'
    content = dict(model=dict(w=np.arange(3.0)), __author__='Mask2Former')
    file.write_bytes(pickle.dumps(content, protocol=2))
    data = read_arrays(file)
    assert torch.equal(data['model']['w'], torch.arange(3.0).double())
    assert data['__author__'] == 'Mask2Former'


# ------------------------------------------------------------------- loading
def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def test_load__what_does_not_fit_changes_nothing():
    net = _net()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = {k: v + 1 for k, v in before.items()}
    state['0.weight'] = torch.zeros(3, 5)
    state['other'] = state.pop('1.bias')
    with pytest.raises(ValueError) as e:
        load_strictly(net, state, 'x.pth', hint='Is it the one?')
    assert str(e.value) == (
        'x.pth does not fit the Sequential: 1 missing (1.bias), 1 unexpected '
        '(other), 1 of another shape (0.weight: (3, 5) in the file, (3, 2) '
        'here). Is it the one?'
    )
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


def test_load__optional_and_unexpected():
    net = _net()
    state = {k: v + 1 for k, v in net.state_dict().items()}
    del state['1.weight'], state['1.bias']
    state['other'] = torch.ones(1)
    with pytest.raises(ValueError, match='2 missing'):
        load_strictly(net, state, 'x', ignore_unexpected=True)
    with pytest.raises(ValueError, match='1 unexpected'):
        load_strictly(net, state, 'x', optional=('1.',))
    load_strictly(net, state, 'x', optional=('1.',), ignore_unexpected=True)
    assert torch.equal(net[0].weight, state['0.weight'])


def test_load__another_number_of_classes():
    net = nn.ModuleDict(dict(cls_embed=nn.Linear(4, 9)))
    state = nn.ModuleDict(dict(cls_embed=nn.Linear(4, 81))).state_dict()
    with pytest.raises(ValueError) as e:
        load_strictly(net, state, 'x.pth')
    assert str(e.value) == (
        'x.pth was trained for another number of classes: cls_embed.weight: '
        '(81, 4) in the file, (9, 4) here (classes + 1).'
    )


def test_teacher__student_of_a_semi_checkpoint(tmp_path):
    student, teacher, net = (nn.Linear(2, 2) for _ in range(3))
    state = {f'student.{k}': v for k, v in student.state_dict().items()}
    state |= {f'teacher.{k}': v for k, v in teacher.state_dict().items()}
    file = tmp_path / 'iter_9.pth'
    torch.save(dict(state_dict=state), file)
    (tmp_path / 'last_checkpoint').write_text(str(file))
    load_teacher(net, tmp_path)
    assert torch.equal(net.weight, student.weight)
    found = network_state(read_checkpoint(file), 'teacher')
    assert torch.equal(found['bias'], teacher.bias)
    torch.save(dict(state_dict=teacher.state_dict()), tmp_path / 'best_1.pth')
    load_teacher(net, tmp_path)
    assert torch.equal(net.weight, teacher.weight)
    with pytest.raises(ValueError, match='same backbone'):
        load_teacher(nn.Linear(2, 3), tmp_path)
    with pytest.raises(FileNotFoundError, match='Train the teacher first'):
        find_checkpoint(tmp_path / 'none')


def test_find__a_half_written_best_is_passed_over(tmp_path):
    """The run was killed while it saved the best; the last one is whole."""
    last = tmp_path / 'iter_2.pth'
    torch.save({'state_dict': {}}, last)
    (tmp_path / 'last_checkpoint').write_text(str(last))
    best = tmp_path / 'best_coco_segm_mAP_iter_1.pth'
    best.write_bytes(last.read_bytes())
    assert find_checkpoint(tmp_path) == best
    best.write_bytes(last.read_bytes()[:-100])
    assert find_checkpoint(tmp_path) == last
