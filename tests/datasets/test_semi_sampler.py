# SPDX-License-Identifier: Apache-2.0
"""SemiSampler: blocks, repeat factors, ranks, resuming."""

from __future__ import annotations

import itertools
import math
import pickle
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from s4m.datasets import DrawIndex, SemiSampler
from s4m.datasets.samplers import repeat_factors, semi_sampler


class _Labeled:
    """Images with the given sets of classes; reading pixels is an error."""

    def __init__(self, classes: list[list[int]]) -> None:
        self.classes = classes

    def __len__(self) -> int:
        return len(self.classes)

    def get_data_info(self, i: int) -> dict:
        return dict(
            instances=[
                dict(bbox_label=c, ignore_flag=0) for c in self.classes[i]
            ]
        )

    def __getitem__(self, i: int):
        raise AssertionError('an image was read')


CLASSES = [[0], [0], [0, 1], [0, 0], [], [2]]


def _sampler(**kwargs) -> SemiSampler:
    dataset = SimpleNamespace(datasets=[_Labeled(CLASSES), range(7)])
    options = dict(num_labeled=2, num_unlabeled=3, seed=3, **kwargs)
    return SemiSampler(dataset, **options)


def _take(sampler, num: int) -> list[DrawIndex]:
    return list(itertools.islice(sampler, num))


def test_repeat_factors__hand_computed():
    factors = repeat_factors(_Labeled(CLASSES), 0.5)
    # f = 4/6, 1/6, 1/6 and t = 0.5: r = 1, sqrt(3), sqrt(3).
    root = math.sqrt(3)
    assert factors.tolist() == pytest.approx([1, 1, root, 1, 1, root])
    # t = 10 repeats every class.
    factors = repeat_factors(_Labeled(CLASSES), 10)
    want = [math.sqrt(15)] * 2 + [math.sqrt(60), math.sqrt(15), 1]
    assert factors.tolist() == pytest.approx([*want, math.sqrt(60)])


def test_iter__blocks():
    indices = _take(_sampler(), 50)
    for k, index in enumerate(indices):
        assert (index < 6) == (k % 5 < 2)
        assert 0 <= index < 13


def test_iter__frequencies():
    """Labelled images in proportion to their factor, unlabelled evenly."""
    counts = Counter(int(i) for i in _take(_sampler(), 50000))
    factors = repeat_factors(_Labeled(CLASSES), 10)
    share = factors / factors.sum() * 20000
    for i in range(6):
        assert counts[i] == pytest.approx(share[i].item(), rel=0.05)
    assert {counts[i] for i in range(6, 13)} <= set(range(4280, 4295))


def test_iter__is_reproducible_and_seeded():
    assert _take(_sampler(), 40) == _take(_sampler(), 40)
    other = _sampler()
    other.seed = 4
    assert _take(other, 40) != _take(_sampler(), 40)


def test_ranks__share_one_stream(monkeypatch):
    one = _take(_sampler(), 40)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(
            semi_sampler, 'get_dist_info', lambda rank=rank: (rank, 2)
        )
        parts.append(_take(_sampler(), 20))
    assert parts == [parts[0], parts[1]]
    labeled = [[i for i in p if i < 6] for p in [one, *parts]]
    woven = [x for pair in zip(*labeled[1:], strict=True) for x in pair]
    assert woven == labeled[0]
    assert parts[0][0].seed != parts[1][0].seed


@pytest.mark.parametrize('num', [0, 5, 35, 1000])
def test_skip__continues_where_it_stopped(num):
    whole = _take(_sampler(), num + 20)
    sampler = _sampler()
    sampler.skip(num)
    rest = _take(sampler, 20)
    assert rest == whole[num:]
    assert [i.seed for i in rest] == [i.seed for i in whole[num:]]


def test_draw_index__survives_workers():
    index = pickle.loads(pickle.dumps(DrawIndex(5, (1, 0, 9))))
    assert index == 5 and index.seed == (1, 0, 9)


@pytest.mark.parametrize(
    'options',
    [dict(num_labeled=0), dict(num_unlabeled=0), dict(repeat_thr=-1)],
)
def test_init__bad_value(options):
    dataset = SimpleNamespace(datasets=[_Labeled(CLASSES), range(7)])
    options = {**dict(num_labeled=1, num_unlabeled=1, seed=0), **options}
    with pytest.raises(ValueError, match='must be >='):
        SemiSampler(dataset, **options)


def test_uniform__without_repeats():
    counts = Counter(int(i) for i in _take(_sampler(repeat_thr=0), 3000))
    assert {counts[i] for i in range(6)} == {200}


def _union(**kwargs) -> SemiSampler:
    dataset = SimpleNamespace(datasets=[_Labeled(CLASSES), range(7)])
    return SemiSampler(dataset, seed=3, **kwargs)


def test_union__each_image_once_a_round():
    """Of 6 + 7 images a round is a permutation, and no two are alike."""
    indices = _take(_union(), 13 * 40)
    rounds = [indices[i : i + 13] for i in range(0, len(indices), 13)]
    assert all(sorted(r) == list(range(13)) for r in rounds)
    assert len({tuple(r) for r in rounds}) == 40
    # Batches of two: the number of labelled images is that of two draws.
    pairs = [indices[i : i + 2] for i in range(0, len(indices), 2)]
    counts = Counter(sum(i < 6 for i in pair) for pair in pairs)
    assert set(counts) == {0, 1, 2}
    both = 6 / 13 * 5 / 12
    assert counts[2] / len(pairs) == pytest.approx(both, abs=0.09)


def test_union__ranks_and_skip(monkeypatch):
    one = _take(_union(), 40)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(
            semi_sampler, 'get_dist_info', lambda rank=rank: (rank, 2)
        )
        parts.append(_take(_union(), 20))
        sampler = _union()
        sampler.skip(7)
        rest = _take(sampler, 13)
        assert rest == parts[-1][7:]
        assert [i.seed for i in rest] == [i.seed for i in parts[-1][7:]]
    woven = [x for pair in zip(*parts, strict=True) for x in pair]
    assert woven == one


def test_union__both_numbers_or_none():
    for kwargs in (dict(num_labeled=1), dict(num_unlabeled=1)):
        with pytest.raises(ValueError, match='go together'):
            _union(**kwargs)


def test_stochastic_rounding__mean_of_a_round():
    sampler = _sampler()
    stream = sampler._rounds(torch.tensor([1.0, 1.5]), stream=0)
    counts = Counter(itertools.islice(stream, 10000))
    assert counts[1] / counts[0] == pytest.approx(1.5, rel=0.05)
